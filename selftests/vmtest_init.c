// SPDX-License-Identifier: GPL-2.0
/*
 * The first process of the guest that vmtest.sh boots: it loads the modules
 * that /modules lists, runs the command that /command holds, an argument a
 * line, on the second serial port, tells the kernel log how it ended, and
 * reboots, which ends QEMU.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define ARGS_MAX 64
#define KMEMLEAK "/sys/kernel/debug/kmemleak"

static void log_msg(const char *fmt, ...)
{
	char line[256];
	va_list ap;
	int fd, len;

	len = snprintf(line, sizeof(line), "<6>vmtest: ");
	va_start(ap, fmt);
	len += vsnprintf(line + len, sizeof(line) - len, fmt, ap);
	va_end(ap);
	if (len >= (int)sizeof(line))
		len = sizeof(line) - 1;

	fd = open("/dev/kmsg", O_WRONLY);
	if (fd < 0 || write(fd, line, len) != len)
		perror("/dev/kmsg");
	close(fd);
}

static void stop(void)
{
	sync();
	reboot(RB_AUTOBOOT);
	_exit(1);
}

static void fail(const char *what)
{
	log_msg("%s: %s\n", what, strerror(errno));
	stop();
}

static void mount_filesystems(void)
{
	if (mount("dev", "/dev", "devtmpfs", 0, NULL) ||
	    mount("proc", "/proc", "proc", 0, NULL) ||
	    mount("sys", "/sys", "sysfs", 0, NULL) ||
	    mount("debug", "/sys/kernel/debug", "debugfs", 0, NULL) ||
	    mount("tmp", "/tmp", "tmpfs", 0, NULL))
		fail("mount");
}

static char *next_line(FILE *file)
{
	char line[4096];

	if (!fgets(line, sizeof(line), file))
		return NULL;

	line[strcspn(line, "\n")] = '\0';
	return strdup(line);
}

static void load_modules(void)
{
	FILE *file = fopen("/modules", "r");
	char *path;

	if (!file)
		return;

	while ((path = next_line(file))) {
		int fd = open(path, O_RDONLY | O_CLOEXEC);

		if (fd < 0 || syscall(SYS_finit_module, fd, "", 0))
			fail(path);
		close(fd);
		free(path);
	}
	fclose(file);
}

static int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), len;

	if (fd < 0)
		return -errno;

	len = write(fd, text, strlen(text));
	close(fd);

	return len == (int)strlen(text) ? 0 : -EIO;
}

/* What kmemleak, if it is there, has found is told to the log. */
static int count_leaks(void)
{
	int err, count = 0;
	FILE *file;
	char *line;

	if (access(KMEMLEAK, F_OK))
		return 0;

	err = write_file(KMEMLEAK, "scan");
	/* It reports nothing younger than this */
	sleep(6);
	err = err ?: write_file(KMEMLEAK, "scan");
	file = fopen(KMEMLEAK, "r");
	if (err || !file) {
		log_msg("kmemleak: it has turned itself off\n");
		return 1;
	}
	while ((line = next_line(file))) {
		log_msg("kmemleak: %s\n", line);
		count++;
		free(line);
	}
	fclose(file);

	return count;
}

static void read_command(char *argv[ARGS_MAX + 1])
{
	FILE *file = fopen("/command", "r");
	int argc = 0;

	if (!file)
		fail("/command");

	while (argc < ARGS_MAX && (argv[argc] = next_line(file)))
		argc++;
	argv[argc] = NULL;
	fclose(file);
}

static void take_terminal(const char *path)
{
	struct termios tio;
	int fd;

	setsid();
	fd = open(path, O_RDWR);
	if (fd < 0)
		fail(path);

	ioctl(fd, TIOCSCTTY, 0);
	dup2(fd, 0);
	dup2(fd, 1);
	dup2(fd, 2);
	if (fd > 2)
		close(fd);

	/* No \r\n for a log; a shell sets the terminal up by itself. */
	if (!tcgetattr(0, &tio)) {
		tio.c_oflag &= ~OPOST;
		tcsetattr(0, TCSANOW, &tio);
	}
}

int main(void)
{
	char *argv[ARGS_MAX + 1];
	int status = 0;
	pid_t pid;

	mount_filesystems();
	load_modules();
	read_command(argv);
	/* Not what was there before the test */
	write_file(KMEMLEAK, "clear");

	/* Not the command: what it printed last would be lost as its session ends. */
	take_terminal("/dev/ttyS1");

	pid = fork();
	if (pid < 0)
		fail("fork");

	if (!pid) {
		setenv("PATH", "/bin:/selftests/drivers/gpu/i915", 1);
		setenv("HOME", "/", 1);
		setenv("TERM", "vt100", 1);
		if (chdir("/selftests"))
			fail("/selftests");
		execvp(argv[0], argv);
		fprintf(stderr, "%s: %s\n", argv[0], strerror(errno));
		_exit(127);
	}

	/* Orphans come here too. */
	while (wait(&status) != pid)
		;
	tcdrain(1);

	if (count_leaks())
		log_msg("exit status 1\n");
	else if (WIFEXITED(status))
		log_msg("exit status %d\n", WEXITSTATUS(status));
	else
		log_msg("killed by signal %d\n", WTERMSIG(status));
	stop();
	return 1;
}
