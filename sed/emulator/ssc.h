// The rows of each SSC's SPs, without media keys; factory.h puts them together.
#pragma once

#include "sed/emulator/factory.h"
#include "sed/emulator/sp_builder.h"

namespace keyward::sed::emulator {

Sp opal_admin_sp(const EmulatedDriveOptions& options, const FactoryPins& pins);
Sp opal_locking_sp(const EmulatedDriveOptions& options);
Sp enterprise_admin_sp(const EmulatedDriveOptions& options, const FactoryPins& pins);
Sp enterprise_locking_sp(const EmulatedDriveOptions& options, const FactoryPins& pins);

// What both SSCs have in the same words.
void add_psid(SpBuilder& builder, const EmulatedDriveOptions& options, const FactoryPins& pins);
Row locking_info(const EmulatedDriveOptions& options);
Row locking_row(const EmulatedDriveOptions& options, std::uint32_t n, std::string_view name);

}  // namespace keyward::sed::emulator
