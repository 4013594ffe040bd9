// opal_check DEVICE: what the kernel's own sed-opal code makes of the drive, one line a step. Runs
// in the guest, alone. The PINs are of a drive that is made for this test and thrown away after it.
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/sed-opal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { kBlock = 4096 };

static struct opal_key key_of(const char* pin) {
  struct opal_key key = {.lr = 0, .key_len = (__u8)strlen(pin)};
  memcpy(key.key, pin, key.key_len);
  return key;
}

static struct opal_session_info admin1(const char* pin) {
  struct opal_session_info session = {.who = OPAL_ADMIN1, .opal_key = key_of(pin)};
  return session;
}

// A system call's error, a TCG status (which the kernel returns as it is), or done.
static void report(const char* step, int result) {
  if (result == 0)
    printf("%s: done\n", step);
  else if (result < 0)
    printf("%s: errno %s\n", step, strerrorname_np(errno));
  else
    printf("%s: TCG status %d\n", step, result);
}

static void show_status(int device) {
  struct opal_status status = {0};
  if (ioctl(device, IOC_OPAL_GET_STATUS, &status) != 0) {
    report("status", -1);
    return;
  }
  printf("status:%s%s%s%s\n", status.flags & OPAL_FL_SUPPORTED ? " supported" : "",
         status.flags & OPAL_FL_LOCKING_SUPPORTED ? " locking-supported" : "",
         status.flags & OPAL_FL_LOCKING_ENABLED ? " locking-enabled" : "",
         status.flags & OPAL_FL_LOCKED ? " locked" : "");
}

// Past the kernel's cache.
static void show_read(const char* device, const char* expected) {
  static char block[kBlock] __attribute__((aligned(kBlock)));
  const int direct = open(device, O_RDONLY | O_DIRECT);
  const ssize_t got = pread(direct, block, kBlock, 0);
  if (got < 0)
    printf("read: errno %s\n", strerrorname_np(errno));
  else
    printf("read: %s\n", memcmp(block, expected, strlen(expected)) == 0 ? "as written" : "OTHER");
  close(direct);
}

static void write_text(const char* device, const char* text) {
  static char block[kBlock] __attribute__((aligned(kBlock)));
  memcpy(block, text, strlen(text));
  const int direct = open(device, O_WRONLY | O_DIRECT);
  report("write", pwrite(direct, block, kBlock, 0) == kBlock ? 0 : -1);
  close(direct);
}

static void set_lock(int device, const char* step, const char* pin, __u32 state) {
  const struct opal_lock_unlock lock = {.session = admin1(pin), .l_state = state};
  report(step, ioctl(device, IOC_OPAL_LOCK_UNLOCK, &lock));
}

// The host cuts the drive's power when it reads the first line. The kernel reconnects by itself.
static void await_power_cycle(int device) {
  printf("the power goes\n");
  struct opal_status status = {0};
  for (int tries = 0; tries < 600 && (status.flags & OPAL_FL_LOCKED) == 0; ++tries) {
    usleep(100 * 1000);
    ioctl(device, IOC_OPAL_GET_STATUS, &status);
  }
  printf("the power is back\n");
}

int main(int argc, char** argv) {
  static const char kText[] = "sectors of an emulated drive";
  setvbuf(stdout, NULL, _IOLBF, 0);
  const char* node = argc > 1 ? argv[1] : "";
  const int device = open(node, O_RDWR);
  if (device < 0) {
    report("open", -1);
    return 1;
  }
  show_status(device);
  const struct opal_key owner = key_of("owner-pin");
  report("take ownership", ioctl(device, IOC_OPAL_TAKE_OWNERSHIP, &owner));
  report("take ownership again", ioctl(device, IOC_OPAL_TAKE_OWNERSHIP, &owner));
  const struct opal_lr_act activate = {.key = owner, .num_lrs = 1};
  report("activate the Locking SP", ioctl(device, IOC_OPAL_ACTIVATE_LSP, &activate));
  const struct opal_user_lr_setup setup = {.RLE = 1, .WLE = 1, .session = admin1("owner-pin")};
  report("set up the global range", ioctl(device, IOC_OPAL_LR_SETUP, &setup));
  show_status(device);
  write_text(node, kText);
  show_read(node, kText);
  set_lock(device, "lock", "owner-pin", OPAL_LK);
  show_status(device);
  show_read(node, kText);
  write_text(node, "this must not arrive");
  set_lock(device, "unlock with a wrong PIN", "wrong-pin", OPAL_RW);
  show_read(node, kText);
  set_lock(device, "unlock", "owner-pin", OPAL_RW);
  show_status(device);
  show_read(node, kText);
  set_lock(device, "unlock for reading only", "owner-pin", OPAL_RO);
  show_read(node, kText);
  write_text(node, "nor this");
  set_lock(device, "unlock", "owner-pin", OPAL_RW);
  await_power_cycle(device);
  show_status(device);
  show_read(node, kText);
  set_lock(device, "unlock", "owner-pin", OPAL_RW);
  show_read(node, kText);
  report("revert by a wrong PIN",
         ioctl(device, IOC_OPAL_REVERT_TPR, &(struct opal_key){.key_len = 1}));
  report("revert", ioctl(device, IOC_OPAL_REVERT_TPR, &owner));
  show_status(device);
  show_read(node, kText);
  return 0;
}
