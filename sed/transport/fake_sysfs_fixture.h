// FakeSysfs is a directory with /sys, /proc and /dev as Linux has them, as far as drives go.
//
//   FakeSysfs machine;
//   machine.scsi("sda", "8:0", "0000:00:17.0").partition("sda", 1, "8:1");
//   machine.stacked("dm-0", "253:0", {"sda1"}).mount("253:0", "/", "ext4", "/dev/dm-0");
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace keyward::sed {

class FakeSysfs final {
 public:
  FakeSysfs() {
    std::string name = ::testing::TempDir() + "keyward-sysfs-XXXXXX";
    root_ = ::mkdtemp(name.data());
    for (const char* directory :
         {"sys/block", "sys/class/block", "sys/dev/block", "proc/self", "dev"})
      std::filesystem::create_directories(root_ / directory);
    write("proc/swaps", "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n");
    write("proc/self/mountinfo", "22 27 0:21 / /proc rw,relatime - proc proc rw\n");
  }
  ~FakeSysfs() { std::filesystem::remove_all(root_); }
  FakeSysfs(const FakeSysfs&) = delete;
  FakeSysfs& operator=(const FakeSysfs&) = delete;

  const std::filesystem::path& root() const { return root_; }

  FakeSysfs& write(const std::string& path, const std::string& text) {
    std::filesystem::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
    return *this;
  }
  FakeSysfs& append(const std::string& path, const std::string& text) {
    std::ofstream(root_ / path, std::ios::app) << text;
    return *this;
  }

  // A SCSI or SATA disk behind the PCI function `pci`, or under no bus.
  FakeSysfs& scsi(const std::string& name, const std::string& number, const std::string& pci,
                  const std::string& wwid = "") {
    const std::string bus = pci.empty() ? "sys/devices/platform" : "sys/devices/pci0000:00/" + pci;
    const std::string device =
        fmt::format("{}/host{}/target/{}", bus, hosts_, fmt::format("{}:0:0:0", hosts_));
    ++hosts_;
    write(device + "/type", "0\n");
    if (!wwid.empty()) write(device + "/wwid", wwid + "\n");
    return block(device + "/block/" + name, number, "../..");
  }

  // An NVMe namespace under its controller, or under its subsystem where there are several paths.
  FakeSysfs& nvme(const std::string& controller, const std::string& name, const std::string& number,
                  const std::string& pci, const std::string& subsystem) {
    const std::string device = fmt::format("sys/devices/pci0000:00/{}/nvme/{}", pci, controller);
    write(device + "/subsysnqn", subsystem + "\n");
    write(device + "/serial", "S1\n");
    return block(device + "/" + name, number, "..");
  }
  FakeSysfs& nvme_multipath(const std::string& subsystem_name, const std::string& name,
                            const std::string& number, const std::vector<std::string>& pcis,
                            const std::string& subsystem) {
    const std::string device = "sys/devices/virtual/nvme-subsystem/" + subsystem_name;
    write(device + "/subsysnqn", subsystem + "\n");
    write(device + "/serial", "S1\n");
    for (std::size_t n = 0; n < pcis.size(); ++n) {
      const std::string path = fmt::format("sys/devices/pci0000:00/{}/nvme/nvme{}", pcis[n], n);
      std::filesystem::create_directories(root_ / path);
      link(fmt::format("{}/nvme{}", device, n), path);
      const std::string hidden = fmt::format("nvme0c{}n1", n);
      block(path + "/" + hidden, fmt::format("259:{}", 100 + n), "..");
      write(path + "/" + hidden + "/hidden", "1\n");
    }
    return block(device + "/" + name, number, "..");
  }

  FakeSysfs& partition(const std::string& disk, int number, const std::string& device_number) {
    const char* infix = disk.starts_with("nvme") || disk.starts_with("md") ? "p" : "";
    const std::string name = fmt::format("{}{}{}", disk, infix, number);
    const std::string directory = where(disk) + "/" + name;
    write(directory + "/partition", fmt::format("{}\n", number));
    return known(directory, device_number);
  }

  // A mapping or a RAID.
  FakeSysfs& stacked(const std::string& name, const std::string& number,
                     const std::vector<std::string>& on) {
    const std::string directory = "sys/devices/virtual/block/" + name;
    block(directory, number, "");
    for (const std::string& below : on) link(directory + "/slaves/" + below, where(below));
    return *this;
  }
  FakeSysfs& loop(const std::string& name, const std::string& number, const std::string& file) {
    block("sys/devices/virtual/block/" + name, number, "");
    return write("sys/devices/virtual/block/" + name + "/loop/backing_file", file + "\n");
  }

  FakeSysfs& mount(const std::string& number, const std::string& point, const std::string& type,
                   const std::string& source) {
    return append(
        "proc/self/mountinfo",
        fmt::format("30 1 {} / {} rw,relatime shared:1 - {} {} rw\n", number, point, type, source));
  }
  FakeSysfs& swap(const std::string& path) {
    return append("proc/swaps",
                  path + "                               partition\t8388604\t0\t-2\n");
  }

  FakeSysfs& remove(const std::string& name) {
    const std::string directory = where(name);
    std::filesystem::remove(root_ / "sys/block" / name);
    std::filesystem::remove(root_ / "sys/class/block" / name);
    std::filesystem::remove_all(root_ / directory);
    return *this;
  }

  // A link from one place of the tree to another, relative as the kernel's are.
  FakeSysfs& link(const std::string& from, const std::string& to) {
    const std::filesystem::path place = root_ / from;
    std::filesystem::create_directories(place.parent_path());
    std::filesystem::create_symlink((root_ / to).lexically_relative(place.parent_path()), place);
    return *this;
  }

  // The directory of a block device in the tree.
  std::string where(const std::string& name) const {
    return std::filesystem::canonical(root_ / "sys/class/block" / name)
        .lexically_relative(std::filesystem::canonical(root_))
        .string();
  }

 private:
  FakeSysfs& block(const std::string& directory, const std::string& number,
                   const std::string& device) {
    std::filesystem::create_directories(root_ / directory);
    const std::string name = std::filesystem::path(directory).filename().string();
    if (!device.empty()) std::filesystem::create_symlink(device, root_ / directory / "device");
    link("sys/block/" + name, directory);
    write(directory + "/diskseq", fmt::format("{}\n", ++sequence_));
    return known(directory, number);
  }
  FakeSysfs& known(const std::string& directory, const std::string& number) {
    const std::string name = std::filesystem::path(directory).filename().string();
    std::filesystem::create_directories(root_ / directory);
    link("sys/class/block/" + name, directory);
    std::filesystem::remove(root_ / "sys/dev/block" / number);
    link("sys/dev/block/" + number, directory);
    return write("dev/" + name, "");
  }

  std::filesystem::path root_;
  int hosts_ = 0;
  int sequence_ = 0;
};

}  // namespace keyward::sed
