#include "cli/import_reader.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <map>
#include <random>

namespace keyward::cli {
namespace {

std::string length(std::size_t n) {
  std::string out;
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(n >> shift & 0xff);
  return out;
}

std::string record(const std::string& name, const std::string& secret) {
  return length(name.size()) + name + length(secret.size()) + secret;
}

// A file that holds `content`, read from its start.
class Input {
 public:
  explicit Input(const std::string& content) : file_(std::tmpfile()) {
    std::fwrite(content.data(), 1, content.size(), file_);
    std::rewind(file_);
  }
  ~Input() { std::fclose(file_); }
  int descriptor() const { return ::fileno(file_); }

 private:
  std::FILE* file_;
};

struct Outcome {
  std::string bytes;  // All batches.
  std::size_t batches = 0;
  std::string error;
};

Outcome read_all(const std::string& content, ImportFormat format) {
  const Input input(content);
  ImportReader reader(input.descriptor(), format);
  Outcome outcome;
  for (;;) {
    auto batch = reader.next_batch();
    if (!batch) {
      outcome.error = batch.error().message;
      return outcome;
    }
    if (batch->size() == 0) return outcome;
    ++outcome.batches;
    outcome.bytes.append(reinterpret_cast<const char*>(batch->reveal().data()), batch->size());
  }
}

TEST(ImportReaderTest, BinaryRecordsPassThrough) {
  const std::string content = record("a", "1") + record("b", std::string("\0\n", 2));
  const Outcome outcome = read_all(content, ImportFormat::binary);
  EXPECT_EQ(outcome.error, "");
  EXPECT_EQ(outcome.bytes, content);
}

TEST(ImportReaderTest, LargeInputComesInBoundedBatchesOfWholeRecords) {
  std::string content;
  for (int i = 0; i < 9; ++i)
    content += record("big" + std::to_string(i), std::string(1u << 20, 'x'));
  const Outcome outcome = read_all(content, ImportFormat::binary);
  EXPECT_EQ(outcome.error, "");
  EXPECT_EQ(outcome.bytes, content);
  EXPECT_GE(outcome.batches, 3u);
}

TEST(ImportReaderTest, JsonLinesBecomeRecords) {
  const Outcome outcome = read_all(
      "{\"name\": \"a\\u00e9\\\"\", \"secret\": \"AAEC\"}\n"
      "\n"
      "  { \"secret\":\"/w==\" , \"name\":\"b\" }\r\n"
      "{\"name\":\"c\",\"secret\":\"eA==\"}",
      ImportFormat::json_lines);
  EXPECT_EQ(outcome.error, "");
  EXPECT_EQ(outcome.bytes, record("a\xc3\xa9\"", std::string("\0\1\2", 3)) + record("b", "\xff") +
                               record("c", "x"));
}

TEST(ImportReaderTest, RecordsBeforeABadOneAreHandedOut) {
  const Outcome outcome = read_all("{\"name\":\"a\",\"secret\":\"eA==\"}\n{\"name\":\"b\"}\n",
                                   ImportFormat::json_lines);
  EXPECT_EQ(outcome.bytes, record("a", "x"));
  EXPECT_NE(outcome.error.find("Record 2"), std::string::npos) << outcome.error;
}

struct BadInput {
  const char* what;
  std::string content;
  ImportFormat format;
};

TEST(ImportReaderTest, BadInputIsNamedByItsRecord) {
  const auto line = [](const std::string& text) {
    return BadInput{text.c_str(), text, ImportFormat::json_lines};
  };
  const std::vector<BadInput> all = {
      {"cut length", std::string("\0\0", 2), ImportFormat::binary},
      {"cut name", length(5) + "ab", ImportFormat::binary},
      {"cut secret", length(1) + "a" + length(9) + "abc", ImportFormat::binary},
      {"no name", length(0) + length(1) + "x", ImportFormat::binary},
      {"no secret", length(1) + "a" + length(0), ImportFormat::binary},
      {"name of 4 GiB", length(0xffffffff) + "a", ImportFormat::binary},
      {"secret of 1 MiB and 1", length(1) + "a" + length((1u << 20) + 1), ImportFormat::binary},
      line("[]"),
      line("{}"),
      line("{\"name\":\"a\",\"secret\":\"e*==\"}"),
      line("{\"name\":\"a\",\"secret\":\"eA\"}"),
      line("{\"name\":\"a\",\"secret\":\"\"}"),
      line("{\"name\":\"a\",\"name\":\"b\",\"secret\":\"eA==\"}"),
      line("{\"name\":\"a\",\"secret\":\"eA==\"} x"),
      line("{\"name\":\"a\",\"secret\":\"eA==\",\"more\":\"1\"}"),
      line("{\"name\":1,\"secret\":\"eA==\"}"),
      line("{\"name\":\"\\ud800\",\"secret\":\"eA==\"}"),
      line("{\"name\":\"a"),
  };
  for (const BadInput& bad : all) {
    const Outcome outcome = read_all(bad.content, bad.format);
    EXPECT_NE(outcome.error.find("Record 1"), std::string::npos)
        << bad.content << ": " << outcome.error;
    EXPECT_EQ(outcome.bytes, "");
  }
}

TEST(ImportReaderTest, ALineWithoutEndIsRefusedInBoundedMemory) {
  const Outcome outcome = read_all("{\"name\":\"a\",\"secret\":\"" + std::string(4u << 20, 'A'),
                                   ImportFormat::json_lines);
  EXPECT_NE(outcome.error.find("longer than any entry"), std::string::npos) << outcome.error;
}

}  // namespace
}  // namespace keyward::cli
