#include "sed/opal_shadow_mbr.h"

#include <fmt/format.h>

#include "sed/marker_store.h"

namespace keyward::sed {
namespace {

using tcg::Session;
using namespace tcg::column::mbr_control;

std::uint64_t cell(bool value) { return value ? 1 : 0; }

std::unexpected<Error> ignored(std::string_view what) {
  return fail(ErrorCode::io,
              fmt::format("the drive took the command and its shadow MBR is {} all the same; "
                          "its firmware may need an update",
                          what));
}

}  // namespace

Result<std::uint64_t> OpalShadowMbr::size() {
  if (link_.known().shadow_mbr_bytes == 0) TRY(learn_locking_sp(link_));
  if (link_.known().shadow_mbr_bytes == 0)
    return fail(ErrorCode::conflict, "the drive has no owner yet, and tells no size before that");
  return link_.known().shadow_mbr_bytes;
}

Result<void> OpalShadowMbr::load(const SecretBytes& owner_pin, ByteView image) {
  const std::uint64_t space = TRY(size());
  if (image.size() > space)
    return fail(ErrorCode::invalid_argument,
                fmt::format("the image has {} bytes, and the shadow MBR {}", image.size(), space));
  TRY(link_.negotiate());
  Session session = TRY(link_.start_as(who::admin1(), owner_pin, Session::Mode::write));
  TRY(session.set(tcg::kMbrControl, {{kEnable, cell(false)}}));
  TRY(session.write_table(tcg::kMbr, 0, image));
  TRY(session.close());
  if (TRY(link_.discover()).locking->mbr_enabled) return ignored("enabled");
  return {};
}

Result<void> OpalShadowMbr::set_control(const SecretBytes& owner_pin, const tcg::Row& cells) {
  Session session = TRY(link_.start_as(who::admin1(), owner_pin, Session::Mode::write));
  TRY(session.set(tcg::kMbrControl, cells));
  return session.close();
}

Result<void> OpalShadowMbr::set_enabled(const SecretBytes& owner_pin, bool enabled) {
  tcg::Row cells{{kEnable, cell(enabled)}};
  if (enabled) cells.emplace(kDone, cell(true));
  TRY(set_control(owner_pin, cells));
  const tcg::Discovery found = TRY(link_.discover());
  if (found.locking && found.locking->mbr_enabled == enabled) return {};
  return ignored(enabled ? "disabled" : "enabled");
}

Result<void> OpalShadowMbr::set_done(const SecretBytes& owner_pin, bool done) {
  TRY(set_control(owner_pin, {{kDone, cell(done)}}));
  const tcg::Discovery found = TRY(link_.discover());
  if (!found.locking || !found.locking->mbr_enabled || found.locking->mbr_done == done) return {};
  return ignored(done ? "shown" : "hidden");
}

}  // namespace keyward::sed
