// Media is the backing file: sectors encrypted with AES-256-XTS, and after them the byte tables.
//
//   Media media = TRY(Media::open(options));
//   media.write_sectors(lba, key, data);          // The file holds ciphertext.
//
// A sector that was never written is a hole, and reads as zeros under every key, as deallocated
// sectors of an SSD do. Byte tables are not encrypted: a drive shows the shadow MBR to everybody.
// One thread at a time.
#pragma once

#include <map>

#include "base/file.h"
#include "crypto/aes_xts.h"
#include "sed/emulator/options.h"
#include "sed/emulator/value.h"

namespace keyward::sed::emulator {

class Media final {
 public:
  static Result<Media> open(const EmulatedDriveOptions& options);

  Result<void> read_sectors(std::uint64_t first, ByteView key, MutableByteView out);
  Result<void> write_sectors(std::uint64_t first, ByteView key, ByteView data);
  // All sectors become holes, as after an overwriting erase.
  Result<void> erase_sectors();

  Result<void> read_table(Uid table, std::uint64_t offset, MutableByteView out) const;
  Result<void> write_table(Uid table, std::uint64_t offset, ByteView data);
  Result<void> erase_table(Uid table);
  Result<void> sync();

 private:
  Media(Descriptor file, const EmulatedDriveOptions& options);

  Result<crypto::AesXts*> cipher(ByteView key);
  std::uint64_t table_offset(Uid table) const;
  std::uint64_t table_size(Uid table) const;
  Result<void> punch(std::uint64_t offset, std::uint64_t size);

  Descriptor file_;
  std::uint32_t sector_bytes_;
  std::uint64_t sectors_;
  std::uint64_t data_store_bytes_;
  std::uint64_t shadow_mbr_bytes_;
  std::map<Bytes, crypto::AesXts> ciphers_;
};

}  // namespace keyward::sed::emulator
