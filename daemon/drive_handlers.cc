#include <fmt/format.h>

#include <algorithm>

#include "api/drive_row.h"
#include "api/page.h"
#include "base/text.h"
#include "daemon/handler_tools.h"
#include "daemon/handlers.h"
#include "engine/drives/erase_certificate.h"

namespace keyward::daemon::handlers {
namespace {

using engine::DriveAction;
using engine::DriveOrder;

Result<engine::DriveFleet*> fleet(Services& services) {
  if (services.drives != nullptr) return services.drives;
  return fail(ErrorCode::unavailable,
              "This node manages no drives: the configuration has no [drives] section. See "
              "keyward.toml(5).");
}

Result<Response> run(Services& services, const DriveOrder& order, const Request& request) {
  engine::DriveFleet* drives = TRY(fleet(services));
  return json_response(
      api::Page<api::DriveResult>{TRY(drives->run(order, request.caller, services.stop))});
}

// Of several drives. None is never all: that has to be said.
Result<Response> run_selection(Services& services, DriveAction action, const Request& request) {
  auto body = TRY(api::from_json<api::DriveSelection>(request.body));
  const bool all = body.all.value_or(false);
  if (all == !body.drives.empty())
    return fail(
        ErrorCode::invalid_argument,
        "Name drives by serial or WWN in \"drives\", or set \"all\" to true; one of the two.");
  return run(services, {action, std::move(body.drives), nullptr}, request);
}

Result<Response> run_one(Services& services, DriveAction action, const Request& request,
                         const SecretBytes* psid = nullptr) {
  return run(services, {action, {request.parameters[0]}, psid}, request);
}

// A PSID from a file or a pipe usually ends in a newline.
void drop_line_end(SecretBytes& text) {
  while (text.size() > 1 &&
         (text.reveal().back() == std::byte{'\n'} || text.reveal().back() == std::byte{'\r'}))
    text.truncate(text.size() - 1);
}

Result<SecretBytes> secret_of(const Request& request) {
  SecretBytes secret = TRY(request.secret->duplicate());
  drop_line_end(secret);
  return secret;
}

std::vector<std::string> split(std::string_view list) {
  std::vector<std::string> names;
  while (!list.empty()) {
    const std::size_t comma = list.find(',');
    if (comma != 0) names.emplace_back(list.substr(0, comma));
    list = comma == std::string_view::npos ? std::string_view{} : list.substr(comma + 1);
  }
  return names;
}

}  // namespace

Result<Response> drive_list(Services& services, const Request&) {
  engine::DriveFleet* drives = TRY(fleet(services));
  return json_response(api::Page<api::DriveRow>{drives->list()});
}

Result<Response> drive_view(Services& services, const Request& request) {
  engine::DriveFleet* drives = TRY(fleet(services));
  return json_response(TRY(drives->find(request.parameters[0])));
}

Result<Response> drive_provision(Services& services, const Request& request) {
  return run_selection(services, DriveAction::provision, request);
}
Result<Response> drive_unlock(Services& services, const Request& request) {
  return run_selection(services, DriveAction::unlock, request);
}
Result<Response> drive_lock(Services& services, const Request& request) {
  return run_selection(services, DriveAction::lock, request);
}
Result<Response> drive_rotate(Services& services, const Request& request) {
  return run_selection(services, DriveAction::rotate, request);
}
Result<Response> drive_verify(Services& services, const Request& request) {
  return run_selection(services, DriveAction::verify, request);
}

Result<Response> drive_erase(Services& services, const Request& request) {
  const std::string_view method = request.query.find("method").value_or("crypto");
  if (method != "crypto" && method != "ata")
    return fail(ErrorCode::invalid_argument,
                "The method is crypto (new media keys) or ata (the drive's own erase).");
  return run_one(services, method == "ata" ? DriveAction::ata_erase : DriveAction::crypto_erase,
                 request);
}
Result<Response> drive_revert(Services& services, const Request& request) {
  return run_one(services, DriveAction::revert, request);
}
Result<Response> drive_psid_revert(Services& services, const Request& request) {
  const SecretBytes psid = TRY(secret_of(request));
  return run_one(services, DriveAction::psid_revert, request, &psid);
}
Result<Response> drive_psid_revert_recorded(Services& services, const Request& request) {
  return run_one(services, DriveAction::psid_revert, request);
}
Result<Response> drive_psid_record(Services& services, const Request& request) {
  const SecretBytes psid = TRY(secret_of(request));
  return run_one(services, DriveAction::psid_record, request, &psid);
}

Result<Response> drive_psid_reveal(Services& services, const Request& request) {
  engine::DriveFleet* drives = TRY(fleet(services));
  Response response{.status = 200, .content_type = "application/octet-stream", .body = {}};
  response.secret = TRY(drives->reveal_psid(request.parameters[0], request.caller));
  return response;
}

Result<Response> drive_release(Services& services, const Request& request) {
  engine::DriveFleet* drives = TRY(fleet(services));
  const std::vector<std::string> names = split(request.query.find("drives").value_or(""));
  if (names.empty())
    return fail(ErrorCode::invalid_argument,
                "Name the drives that are released: drives=<serial or WWN>,<…>");
  const SecretBytes passphrase = TRY(secret_of(request));
  Bytes bundle = TRY(drives->release(names, passphrase, request.caller));
  Response response{.status = 200, .content_type = "application/octet-stream", .body = {}};
  response.secret = TRY(SecretBytes::take_from(bundle));
  return response;
}

Result<Response> drive_adopt(Services& services, const Request& request) {
  engine::DriveFleet* drives = TRY(fleet(services));
  const ByteView body = request.secret->reveal();
  const auto line_end = std::ranges::find(body, std::byte{'\n'});
  if (line_end == body.begin() || line_end == body.end() || line_end + 1 == body.end())
    return fail(ErrorCode::invalid_argument,
                "The body is the passphrase, a newline, and the bundle that release gave.");
  const auto size = static_cast<std::size_t>(line_end - body.begin());
  SecretBytes passphrase = TRY(request.secret->duplicate());
  passphrase.truncate(size);
  return json_response(api::Page<api::DriveResult>{
      TRY(drives->adopt(body.subspan(size + 1), passphrase, request.caller))});
}

Result<Response> drive_certificates(Services& services, const Request&) {
  engine::DriveFleet* drives = TRY(fleet(services));
  return json_response(api::Page<api::EraseCertificate>{drives->certificates()});
}

Result<Response> drive_certificate_html(Services& services, const Request& request) {
  engine::DriveFleet* drives = TRY(fleet(services));
  for (const api::EraseCertificate& certificate : drives->certificates())
    if (certificate.id == request.parameters[0])
      return Response{.status = 200,
                      .content_type = "text/html; charset=utf-8",
                      .body = engine::certificate_html(certificate)};
  return fail(ErrorCode::not_found,
              fmt::format("There is no certificate {}. See: keyward sed drives certificates",
                          printable(request.parameters[0])));
}

}  // namespace keyward::daemon::handlers
