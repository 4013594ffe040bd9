#include "engine/domain_intent.h"

#include <fmt/format.h>

#include <string>
#include <string_view>
#include <utility>

#include "api/fields.h"

namespace keyward::engine {
namespace {

constexpr std::string_view kPrefix = "domain-intent/";
constexpr std::size_t kPage = 100;

constexpr std::string_view kCreate = "create";
constexpr std::string_view kRemove = "remove";

// As it stands in the document.
struct IntentDocument {
  std::string act;
  std::string domain;
  std::string store;
  std::string key;
  std::vector<std::string> custodians;

  template <typename Visitor>
  static void fields(Visitor& visit) {
    visit("act", &IntentDocument::act);
    visit("domain", &IntentDocument::domain);
    visit("store", &IntentDocument::store);
    visit("key", &IntentDocument::key);
    visit("custodians", &IntentDocument::custodians);
  }
};

std::string document_name(const Domain& domain) {
  return fmt::format("{}{}", kPrefix, domain.text());
}

Result<DomainIntent> parse_intent(const store::Document& document) {
  auto read = TRY(api::from_json<IntentDocument>(document.json));
  DomainIntent intent{
      .act = read.act == kCreate ? DomainIntent::Act::create : DomainIntent::Act::remove,
      .context = {TRY(StoreId::parse(read.store)), TRY(Domain::parse(read.domain)),
                  TRY(KeyId::parse(read.key))},
      .custodians = {},
      .version = document.version};
  if (read.act != kCreate && read.act != kRemove)
    return fail(ErrorCode::corrupt, fmt::format("\"{}\" is no act", read.act));
  for (std::string& custodian : read.custodians)
    intent.custodians.push_back({std::move(custodian)});
  return intent;
}

}  // namespace

Result<DomainIntent> save_intent(store::ControlStore& control, DomainIntent intent,
                                 std::span<const store::AuditRecord> records) {
  IntentDocument document{
      .act = std::string(intent.act == DomainIntent::Act::create ? kCreate : kRemove),
      .domain = intent.context.domain.text(),
      .store = intent.context.store.to_text(),
      .key = intent.context.key.to_text(),
      .custodians = {}};
  for (const CustodianId& custodian : intent.custodians)
    document.custodians.push_back(custodian.text);
  Result<std::uint64_t> saved = control.save(
      {document_name(intent.context.domain), intent.version, api::to_json(document)}, records);
  if (!saved && saved.error().code == ErrorCode::conflict) {
    return fail(
        ErrorCode::conflict,
        fmt::format("an earlier creation or deletion of {} has not ended, since a custodian "
                    "did not answer; see: keyward doctor",
                    document.domain));
  }
  intent.version = TRY(std::move(saved));
  return intent;
}

Result<void> remove_intent(store::ControlStore& control, const DomainIntent& intent,
                           std::span<const store::AuditRecord> records) {
  return control.remove({document_name(intent.context.domain), intent.version, {}}, records);
}

Result<std::vector<DomainIntent>> load_intents(store::ControlStore& control) {
  std::vector<DomainIntent> intents;
  std::string after;
  for (;;) {
    const std::vector<store::Document> page = TRY(control.list(kPrefix, after, kPage));
    for (const store::Document& document : page) {
      Result<DomainIntent> intent = parse_intent(document);
      if (!intent) return std::unexpected(with_context(intent.error(), document.name));
      intents.push_back(std::move(*intent));
    }
    if (page.size() < kPage) return intents;
    after = page.back().name;
  }
}

}  // namespace keyward::engine
