// Who this node is, for what outlives its name and address: a drive's marker, a bundle.
//
//   NodeId node = TRY(load_or_make_node_id(control));
//
// Made once, at random, and kept as the control document "node". A state directory that is restored
// keeps it.
#pragma once

#include "base/ids.h"
#include "base/result.h"
#include "store/control_store.h"

namespace keyward::engine {

Result<NodeId> load_or_make_node_id(store::ControlStore& control);

}  // namespace keyward::engine
