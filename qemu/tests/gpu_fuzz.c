// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Throws garbage at the modelled GPU, which should survive whatever a guest does: built
 * with sanitizers, QEMU ends at the first wrong access. First come batches, through the
 * i915 node. They may hang, and be reset, but not keep the driver from recovering. Then
 * comes what only a kernel can do: without the driver, random registers, page tables,
 * rings and context images.
 *
 * Whatever the GPU can write in this second part is memory of this process, or none at
 * all, or the GPU itself: random page table entries would corrupt the kernel, as on
 * hardware, and say nothing about the model. Page tables are therefore made of pages
 * that the GPU can only reach as such.
 */
#include "gpu.h"

#include <sys/stat.h>

#define DEVICE		"/sys/bus/pci/devices/0000:00:02.0/"
#define GGTT		(8 << 20)	/* where it starts in BAR0 */
#define JOBS		8		/* in flight at a time */
#define DATA_PAGES	256
#define TABLE_PAGES	16		/* of each level */
#define LEVELS		4

static uint64_t rng_state;

/* Addresses that are more interesting than others */
static uint64_t targets[8];
static bool raw;			/* without the driver */

static uint32_t rnd(void)
{
	rng_state ^= rng_state << 13;
	rng_state ^= rng_state >> 7;
	rng_state ^= rng_state << 17;
	return rng_state >> 16;
}

static uint32_t below(uint32_t n)
{
	return rnd() % n;
}

#define one_of(array)	((array)[below(ARRAY_SIZE(array))])

/* PDP: holds physical addresses, see above */
static bool is_pdp(uint32_t reg)
{
	return (reg & 0xfe0) == 0x260 || (reg & 0xfe0) == 0x280;
}

static uint32_t random_reg(void)
{
	static const uint32_t known[] = {
		0x941c, 0xa278, 0xa188, 0xa270, 0xa008, 0xa090, 0x9120, 0x138124, 0x4260, 0xced8,
		0x44200, 0x44304, 0x44308, 0x4430c, 0x190010, 0x190018, 0x19001c, 0x190030,
		0x190060, 0x190070, 0x190074, 0x190090, 0x100000, 0x100004, 0x1000f8, 0x7000,
		0x7300, 0x22200, 0x40000, 0x4000, 0x7ffffc, 0xfffffc, 0xc800, 0xb020, 0x4f100,
	};
	uint32_t reg;

	do {
		switch (below(4)) {
		case 0:
			reg = one_of(known);
			break;
		case 1:
			reg = rnd() & (raw ? 0x7ffffc : 0xfffffc);
			break;
		default:
			reg = engines[below(nengines)].base + (rnd() & 0x7fc);
		}
	} while (raw && is_pdp(reg));
	return reg;
}

static uint32_t random_value(void)
{
	switch (below(6)) {
	case 0:
		return 1u << below(32);
	case 1:
		return rnd() << 16 | (rnd() & 0xffff);
	case 2:
		return one_of(targets) + below(8) * 4;
	case 3:
		return below(3) - 1;
	case 4:
		return 0x10001u << below(16);
	default:
		return rnd();
	}
}

static uint64_t random_addr(void)
{
	if (below(16))
		return canonical(one_of(targets) + (below(2) ? below(4096) : below(64) * 4));
	return (uint64_t)rnd() << 32 | rnd();
}

/* The commands that the model knows, with the length that they have */
static const uint32_t headers[] = {
	0, MI(0x02, 0), MI(0x03, 0), MI_ARB_CHECK, MI(0x08, 0), MI(0x08, 1), MI_BATCH_END,
	MI_PREDICATE | 0x82, MI(0x14, 0), MI(0x18, 0), MI_MATH(4), MI(0x1b, 2), MI_SEMA_WAIT,
	MI_SEMA_WAIT | 1, MI_SEMA_WAIT | 1 << 22, MI_SEMA_WAIT | 1 << 16, MI_STORE,
	MI_STORE_QWORD, MI_STORE | 1 << 22, MI(0x20, 0x3ff), MI(0x21, 1), MI(0x21, 1) | 1 << 21,
	MI_LRI(1), MI_LRI(4), MI_LRI(2) | MI_LRI_CS_MMIO, MI(0x23, 1), MI(0x23, 0x3f), MI_SRM,
	MI_SRM | 1 << 22, MI_FLUSH_DW, MI_FLUSH_DW | 1 << 14, MI_FLUSH_DW | 3 << 14 | 1 << 21,
	MI(0x28, 2), MI_LRM, MI_LRM | 1 << 22, MI_LRR, MI_LRR | 3 << 18, MI(0x2e, 3),
	MI(0x2e, 3) | 3 << 21, MI(0x2f, 1), MI(0x2f, 9), MI_BATCH_START, MI_BATCH_START,
	MI_BATCH_START | 1 << 22, MI(0x31, 1), MI(0x31, 1) | 1 << 15, MI_COND_END,
	MI_COND_END | 1 << 22, 0x7a000004, 0x7a000004, 0x79000002, 0x69040000, 0x7b000005,
	0x54300000 | 8, 0x54f0880 << 4 | 8, 0x5430a800, 0x50800008, 0x50b06008, 0x54c00008,
	0x54000005, 0x53c00008, 0x7fffffff,
};

/* The body suits the command now and then: registers and addresses come in their places. */
static unsigned int emit_command(uint32_t *at, unsigned int room)
{
	uint32_t header = one_of(headers), n, i;

	if (!below(8))
		header ^= 1u << below(32);
	n = header >> 29 || (header >> 23 & 0x3f) >= 0x10 ? (header & 0x3f) + 2 : 1;
	if ((header & 0xff) == 0xff)
		n = 2;			/* what it claims to have is not there */
	if (n > room)
		n = room;
	at[0] = header;
	for (i = 1; i < n; i++) {
		uint64_t addr = random_addr();

		if (i + 1 < n && below(2)) {
			at[i++] = addr;
			at[i] = addr >> 32;
		} else {
			at[i] = below(2) ? random_value() : random_reg();
		}
	}
	/* Not a random value for a register with physical addresses */
	for (i = 1; raw && header >> 23 >= 0x22 && header >> 23 <= 0x2a && i < n; i++)
		if (is_pdp(at[i]))
			at[i] = 0x2600;
	return n;
}

static void emit_garbage(uint32_t *at, unsigned int n)
{
	unsigned int kind = below(4), i = 0;

	while (i < n) {
		if (kind == 0 || !below(64))
			at[i++] = rnd();
		else
			i += emit_command(at + i, n - i);
	}
	/* Without an end the command streamer runs on, into whatever follows. */
	if (kind != 1 && below(4))
		at[below(n)] = MI_BATCH_END;
	if (!below(8)) {
		uint64_t self = targets[0] + below(4) * 4;

		at[0] = MI_BATCH_START;
		at[1] = self;
		at[2] = self >> 32;
	}
}

/* Part one: batches */

static void submit_garbage(unsigned int job)
{
	struct bo *bo = bo_create_at((1 + below(4)) * PAGE,
				     below(4) ? 0x1000000ull * (job + 1) :
				     (uint64_t)(rnd() & 0xffff) << 32 | job << 24);
	struct bo *data = bo_create_at(PAGE, bo->addr + (below(2) ? bo->size : 0x100000));
	struct batch b = { .bo = bo };
	uint32_t ctx = ctx_create(&engines[below(nengines)], 0, (int)below(3) - 1);
	unsigned int i, n = bo->size / 4;

	for (i = 0; i < ARRAY_SIZE(targets); i++)
		targets[i] = (i & 1 ? data : bo)->addr;
	targets[1] = 0x1000000ull * (1 + below(JOBS));		/* perhaps of another context */
	targets[3] = bo->addr + bo->size - 4 * below(8);
	targets[5] = 1ull << (12 + below(36));
	emit_garbage(bo->map, below(2) ? n : 1 + below(n));
	emit_garbage(data->map, PAGE / 4);
	use(&b, data);
	submit(&b, ctx);		/* which the kernel may refuse */
}

static void fuzz_batches(long long end)
{
	unsigned int rounds = 0, job, i;

	do {
		fd = open("/dev/dri/renderD128", O_RDWR | O_CLOEXEC);
		must(fd >= 0);
		for (job = 0; job < JOBS; job++)
			submit_garbage(job);
		for (i = 0; i < nbos; i += 2)
			bo_wait(&bos[i], 5);
		/* Kills what still runs, as these contexts do not persist */
		close_node();
		rounds++;
	} while (now() < end);
	printf("# %u batches\n", rounds * JOBS);
}

static void check_all(const char *when)
{
	unsigned int i;

	next_addr = 0x10000000;
	fd = open("/dev/dri/renderD128", O_RDWR | O_CLOEXEC);
	must(fd >= 0);
	reset_timeouts();
	for (i = 0; i < nengines; i++) {
		engine = &engines[i];
		check_works(engine);
	}
	close_node();
	printf("%sok %u engines work after %s\n", errors ? "not " : "", ++test_number, when);
}

/* Part two: the device itself */

struct page {
	uint64_t *map;
	uint64_t pa;
};

static struct page data_pages[DATA_PAGES];
static struct page tables[LEVELS][TABLE_PAGES];		/* level 0: of page table entries */
static volatile uint8_t *bar0;
static uint64_t bar_pa[3];

static void read_bars(void)
{
	FILE *file = fopen(DEVICE "resource", "r");
	unsigned int i;

	must(file);
	for (i = 0; i < 3; i++)
		must(fscanf(file, "%lx %*x %*x", &bar_pa[i]) == 1);
	fclose(file);
}

static void get_page(struct page *page)
{
	int file = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t entry = 0;

	page->map = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED | MAP_POPULATE, -1, 0);
	must(file >= 0 && page->map != MAP_FAILED);
	page->map[0] = 1;
	must(pread(file, &entry, 8, (uintptr_t)page->map / PAGE * 8) == 8 && entry >> 63);
	close(file);
	page->pa = (entry & ((1ull << 55) - 1)) * PAGE;
	must(page->pa);
}

/* Nothing is there; pages of all sizes may point to it. */
static uint64_t random_hole(void)
{
	return (1ull << (33 + below(6)) | (uint64_t)rnd() << 12) | (rnd() & 0xfff);
}

/* Of a page: to own memory, to nothing, or to the device itself */
static uint64_t random_pte(void)
{
	static const uint32_t safe[] = { 0x9000, 0xa000, 0x44000, 0x190000, 0x138000 };

	switch (below(16)) {
	case 0:
		return random_hole();
	case 1:
		return bar_pa[2] + below(512) * PAGE + 3;
	case 2:
		return bar_pa[0] + one_of(safe) + 3;
	case 3:
		return one_of(data_pages).pa | below(4);
	default:
		return one_of(data_pages).pa | 3;
	}
}

/* Of a table: to one of the next level */
static uint64_t random_pde(unsigned int level)
{
	if (!level)
		return random_pte();
	return below(8) ? one_of(tables[level - 1]).pa | 3 : random_hole();
}

static void write_reg(uint32_t reg, uint32_t value)
{
	*(volatile uint32_t *)(bar0 + reg) = value;
}

static void fill_memory(void)
{
	unsigned int level, i, k;

	for (level = 0; level < LEVELS; level++)
		for (i = 0; i < TABLE_PAGES; i++)
			for (k = 0; k < 512; k++)
				tables[level][i].map[k] = random_pde(level);
	for (i = 0; i < DATA_PAGES; i++)
		emit_garbage((uint32_t *)data_pages[i].map, PAGE / 4);
	for (i = 0; i < 1024; i++)
		*(volatile uint64_t *)(bar0 + GGTT + i * 8) = random_pte();
}

static uint64_t random_descriptor(void)
{
	/* LRCA, a mode of addressing, valid */
	uint64_t d = (below(16) ? below(1000) : rnd() & 0xfffff) * PAGE | one_of(((int []){1, 3})) << 3 | 1;

	return d | (uint64_t)rnd() << 32 | (rnd() & 0x106);
}

/*
 * A page that looks like a context's registers, with a ring and page tables. It is not
 * known which address of the GGTT it has, so all data pages may become one.
 */
static void write_image(uint32_t *image, uint32_t base)
{
	static const uint16_t regs[] = {
		0x244, 0x34, 0x30, 0x38, 0x3c, 0x168, 0x140, 0x110, 0x1c0, 0x1c4, 0x1c8, 0x600,
	};
	unsigned int i, n = 1;

	image[0] = 0;
	image[n++] = MI_LRI(20);
	for (i = 0; i < 20; i++) {
		image[n++] = i < ARRAY_SIZE(regs) ? base + regs[i] : random_reg();
		image[n++] = i == 3 ? below(1000) * PAGE : i == 4 ? below(8) * PAGE | 1 :
			     random_value();
	}
	image[n++] = MI_LRI(8);
	for (i = 0; i < 4; i++) {
		uint64_t pa = below(16) ? one_of(tables[below(2) ? 3 : 1]).pa : random_hole();

		image[n++] = base + 0x270 + i * 8;
		image[n++] = pa;
		image[n++] = base + 0x274 + i * 8;
		image[n++] = pa >> 32;
	}
	n += emit_command(image + n, 64);
}

static void submit_contexts(const struct engine *e)
{
	unsigned int i, n = gen >= 11 ? 8 : 2;

	for (i = 0; i < n; i++) {
		uint64_t d = i <= 1 || below(2) ? random_descriptor() : 0;

		if (gen >= 11) {
			write_reg(e->base + 0x510 + i * 8, d);
			write_reg(e->base + 0x514 + i * 8, d >> 32);
		} else {
			write_reg(e->base + 0x230, d >> 32);
			write_reg(e->base + 0x230, d);
		}
	}
	if (gen >= 11)
		write_reg(e->base + 0x550, 1);
}

/* All sizes of access, also in the GGTT, which is only read here */
static void random_access(void)
{
	uint32_t at = below(4) ? random_reg() & 0x7ffffc : below(16 << 20), size = 1 << below(4);
	static volatile uint64_t sink;

	at &= ~(size - 1);
	if (at < GGTT && !is_pdp(at) && !is_pdp(at + 4) && below(2)) {
		switch (size) {
		case 1:
			bar0[at] = rnd();
			break;
		case 2:
			*(volatile uint16_t *)(bar0 + at) = rnd();
			break;
		default:
			*(volatile uint32_t *)(bar0 + (at & ~3)) = random_value();
		}
	} else if (size == 8) {
		sink += *(volatile uint64_t *)(bar0 + at);
	} else {
		sink += size == 4 ? *(volatile uint32_t *)(bar0 + at) : bar0[at];
	}
}

static void fuzz_device(long long end)
{
	unsigned int rounds = 0, i;

	do {
		const struct engine *e = &one_of(engines);

		if (!e->base)
			continue;
		for (i = 0; i < ARRAY_SIZE(targets); i++)
			targets[i] = (uint64_t)(i < 5 ? below(1000) : rnd() >> 12) * PAGE;
		if (rounds % 64 == 0)
			fill_memory();
		for (i = 0; i < 8; i++) {
			write_image((uint32_t *)one_of(data_pages).map, e->base);
			emit_garbage((uint32_t *)one_of(data_pages).map, PAGE / 4);
			*(volatile uint64_t *)(bar0 + GGTT + below(1024) * 8) = random_pte();
		}
		write_reg(e->base + 0x80, below(1000) * PAGE);
		write_reg(e->base + 0x9c, 0x100 << 16);	/* not stopped */
		submit_contexts(e);
		for (i = below(200); i; i--)
			random_access();
		if (!below(4))
			write_reg(0x941c, below(2) ? 1 : rnd());
		usleep(below(500));
		rounds++;
	} while (now() < end);
	printf("# %u rounds of register writes\n", rounds);
}

static bool write_file(const char *path, const char *text)
{
	int file = open(path, O_WRONLY | O_CLOEXEC);
	bool ok = file >= 0 && write(file, text, strlen(text)) == (ssize_t)strlen(text);

	close(file);
	return ok;
}

static void set_command(uint16_t command)
{
	int file = open(DEVICE "config", O_RDWR | O_CLOEXEC);

	must(file >= 0 && pwrite(file, &command, 2, 4) == 2);
	close(file);
}

static void prepare_device(void)
{
	unsigned int i, k;
	int file;

	must(write_file("/sys/bus/pci/drivers/i915/unbind", "0000:00:02.0"));
	must(write_file(DEVICE "power/control", "on"));
	must(write_file(DEVICE "enable", "1"));
	set_command(0x406);		/* memory, DMA, no interrupts */
	read_bars();
	file = open(DEVICE "resource0", O_RDWR | O_SYNC | O_CLOEXEC);
	must(file >= 0);
	bar0 = mmap(NULL, 16 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	must(bar0 != MAP_FAILED);
	close(file);
	for (i = 0; i < DATA_PAGES; i++)
		get_page(&data_pages[i]);
	for (i = 0; i < LEVELS; i++)
		for (k = 0; k < TABLE_PAGES; k++)
			get_page(&tables[i][k]);
	raw = true;
}

static void fuzz_as_root(long long duration)
{
	prepare_device();
	fuzz_device(now() + duration);
	write_reg(0x941c, 1);
	check(*(volatile uint32_t *)(bar0 + 0x9c + engines[0].base) != ~0u, "no device any more");
	set_command(0x402);		/* no DMA, before this memory is given up */
	munmap((void *)bar0, 16 << 20);
	must(write_file(DEVICE "enable", "0"));
	printf("%sok %u registers\n", errors ? "not " : "", ++test_number);

	if (access(DEVICE "reset", W_OK)) {
		printf("# it has no function level reset, so the driver stays unbound\n");
		return;
	}
	must(write_file(DEVICE "reset", "1"));
	must(write_file("/sys/bus/pci/drivers/i915/bind", "0000:00:02.0"));
	check_all("a function level reset");
}

/* gpu_fuzz [seed [seconds]] */
int main(int argc, char **argv)
{
	long seed = argc > 1 ? atol(argv[1]) : 1, seconds = argc > 2 ? atol(argv[2]) : 35;
	unsigned int i;

	setlinebuf(stdout);
	printf("TAP version 13\n# seed %ld, %ld seconds\n", seed, seconds);
	rng_state = seed * 0x9e3779b97f4a7c15ull + 1;
	if (setjmp(give_up)) {
		printf("Bail out!\n");
		return 1;
	}
	query();
	for (i = 0; i < nengines; i++) {
		set_engine(&engines[i], "preempt_timeout_ms", 50);
		set_engine(&engines[i], "heartbeat_interval_ms", 200);
	}
	fuzz_batches(now() + seconds * SECOND * 6 / 10);
	settle();
	check_all("garbage batches");
	fuzz_as_root(seconds * SECOND * 4 / 10);
	settle();
	printf("1..%u\n", test_number);
	return errors > 0;
}
