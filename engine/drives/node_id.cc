#include "engine/drives/node_id.h"

#include "api/fields.h"
#include "engine/caller.h"

namespace keyward::engine {
namespace {

constexpr std::string_view kName = "node";

struct NodeDocument {
  std::string id;

  template <typename Visitor>
  static void fields(Visitor& visit) {
    visit("id", &NodeDocument::id);
  }
};

Result<NodeId> load(store::ControlStore& control) {
  const store::Document document = TRY(control.load(kName));
  return NodeId::parse(TRY(api::from_json<NodeDocument>(document.json)).id);
}

}  // namespace

Result<NodeId> load_or_make_node_id(store::ControlStore& control) {
  Result<NodeId> known = load(control);
  if (known || known.error().code != ErrorCode::not_found) return known;
  const NodeId made = NodeId::random();
  const store::AuditRecord record = audit_record({"keywardd", "daemon"}, "node.make_id", kName);
  const auto saved = control.save(
      {std::string(kName), 0, api::to_json(NodeDocument{made.to_text()})}, {&record, 1});
  if (saved) return made;
  // Somebody else was first.
  if (saved.error().code == ErrorCode::conflict) return load(control);
  return std::unexpected(saved.error());
}

}  // namespace keyward::engine
