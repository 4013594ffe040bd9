// Shows that somebody else's program can have a self-encrypting drive to test with.
#include <cstdio>

#include "sed/emulator/emulated_drive.h"

int main(int argc, char** argv) {
  using namespace keyward::sed;
  auto drive = EmulatedDrive::open({.backing_file = argc > 1 ? argv[1] : "example.drive"});
  if (!drive) return std::fprintf(stderr, "%s\n", drive.error().message.c_str()), 1;
  const auto transport = (*drive)->connect();  // What a real drive's transport would be.
  keyward::Bytes discovery(2048);
  if (!transport->receive(Protocol::tcg, 0x0001, discovery)) return 1;
  const bool locking = (discovery[48 + 16 + 4] & std::byte{1}) != std::byte{0};
  std::printf("%s: locking %s, label %s\n", transport->identity().serial.c_str(),
              locking ? "supported" : "absent", (*drive)->psid().c_str());
  (*drive)->power_cycle();
  return locking ? 0 : 1;
}
