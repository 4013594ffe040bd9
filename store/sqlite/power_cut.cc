#include "store/sqlite/power_cut.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "store/sqlite/files.h"

namespace keyward::store {
namespace {

void put(Bytes& content, std::uint64_t offset, ByteView data) {
  if (content.size() < offset + data.size()) content.resize(offset + data.size());
  std::ranges::copy(data, content.begin() + static_cast<std::ptrdiff_t>(offset));
}

Bytes read_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  const ByteView bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

}  // namespace

PowerCut::PowerCut(std::string directory, std::size_t cut_at)
    : directory_(std::move(directory)), cut_at_(cut_at) {
  namespace fs = std::filesystem;
  for (const fs::directory_entry& item : fs::recursive_directory_iterator(directory_)) {
    if (!item.is_regular_file()) continue;
    files_[item.path().lexically_relative(directory_)].synced = read_file(item.path());
  }
}

VfsAnswer PowerCut::before(const VfsCall& call) {
  if (call.operation == VfsOperation::read) return VfsAnswer::proceed;
  const std::lock_guard lock(mutex_);
  ++count_;
  if (cut_at_ != 0 && count_ >= cut_at_) cut_ = true;
  if (cut_) return VfsAnswer::fail;
  record(call);
  return VfsAnswer::proceed;
}

void PowerCut::record(const VfsCall& call) {
  if (!call.path.starts_with(directory_ + "/")) return;
  const std::string name(call.path.substr(directory_.size() + 1));
  switch (call.operation) {
    case VfsOperation::open:
      // Renamed by the back end, which had synced it.
      if (!files_.contains(name)) files_[name].synced = read_file(std::string(call.path));
      return;
    case VfsOperation::write:
      files_[name].pending.push_back(
          {false, call.offset, Bytes(call.data.begin(), call.data.end())});
      return;
    case VfsOperation::truncate:
      files_[name].pending.push_back({true, call.offset, {}});
      return;
    case VfsOperation::sync:
      for (const Change& change : files_[name].pending) apply(change, files_[name].synced);
      files_[name].pending.clear();
      return;
    case VfsOperation::remove:
      files_.erase(name);
      return;
    case VfsOperation::read:
      return;
  }
}

void PowerCut::apply(const Change& change, Bytes& content) {
  if (change.truncates)
    content.resize(change.offset);
  else
    put(content, change.offset, change.data);
}

void PowerCut::apply_torn(const Change& change, Bytes& content, Tear& tear) {
  if (change.truncates) {
    if (tear.random() % 2 == 0) content.resize(change.offset);
    return;
  }
  for (std::size_t at = 0; at < change.data.size();) {
    const std::size_t rest = tear.sector_bytes - (change.offset + at) % tear.sector_bytes;
    const std::size_t size = std::min(rest, change.data.size() - at);
    if (tear.random() % 2 == 0)
      put(content, change.offset + at, ByteView(change.data).subspan(at, size));
    at += size;
  }
}

Bytes PowerCut::content_after(const File& file, LossModel loss, Tear& tear) {
  Bytes content = file.synced;
  if (loss == LossModel::unsynced_lost) return content;
  for (const Change& change : file.pending) {
    if (loss == LossModel::all_kept)
      apply(change, content);
    else
      apply_torn(change, content, tear);
  }
  return content;
}

bool PowerCut::has_cut() const {
  const std::lock_guard lock(mutex_);
  return cut_;
}

std::size_t PowerCut::calls() const {
  const std::lock_guard lock(mutex_);
  return count_;
}

void PowerCut::cut() {
  const std::lock_guard lock(mutex_);
  cut_ = true;
}

void PowerCut::lose_unsynced(std::string_view path) {
  const std::lock_guard lock(mutex_);
  if (!path.starts_with(directory_ + "/")) return;
  const auto file = files_.find(path.substr(directory_.size() + 1));
  if (file != files_.end()) file->second.pending.clear();
}

Result<void> PowerCut::materialise(LossModel loss, std::uint64_t seed,
                                   const std::string& destination, std::size_t sector_bytes) const {
  const std::lock_guard lock(mutex_);
  Tear tear{std::mt19937_64(seed), sector_bytes};
  for (const auto& [name, file] : files_) {
    if (!std::filesystem::exists(std::filesystem::path(directory_) / name)) continue;
    const Bytes content = content_after(file, loss, tear);
    const std::filesystem::path path = std::filesystem::path(destination) / name;
    std::error_code error;
    std::filesystem::create_directories(path.parent_path(), error);
    if (error) return std::unexpected(os_error("mkdir", path.string(), error.value()));
    std::ofstream out(path, std::ios::binary | std::ios::trunc);
    out.write(reinterpret_cast<const char*>(content.data()),
              static_cast<std::streamsize>(content.size()));
    out.close();
    if (!out) return std::unexpected(os_error("write", path.string(), errno));
  }
  return {};
}

}  // namespace keyward::store
