// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Throws garbage at the modelled GPU, which should survive whatever a guest does: built
 * with sanitizers, QEMU ends at the first wrong access. First come batches, through the
 * i915 node. They may hang, and be reset, but not keep the driver from recovering. Then
 * comes what only a kernel can do: without the driver, random registers, page tables,
 * rings and context images.
 *
 * In this second part all that the GPU can write is memory of this process, or none at
 * all, or the GPU itself: else it would corrupt the kernel, as on hardware, which says
 * nothing about the model. So page tables are pages that the GPU can reach as such only,
 * each of one level, the registers that hold physical addresses are written by the CPU
 * only, and no dword of the garbage names one of them.
 */
#include "garbage.h"

#define ADDRESS		"0000:00:02.0"
#define DEVICE		"/sys/bus/pci/devices/" ADDRESS "/"
#define ERROR_CAPTURE	"/sys/kernel/debug/dri/128/i915_params/error_capture"
#define GGTT		(8 << 20)	/* where it starts in BAR0 */
#define JOBS		8		/* in flight at a time */
#define DATA_PAGES	256
#define TABLE_PAGES	16		/* of each level */
#define LEVELS		4

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
		fd = open(NODE, O_RDWR | O_CLOEXEC);
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

static bool check_all(const char *when)
{
	unsigned int i;

	next_addr = 0x10000000;
	fd = open(NODE, O_RDWR | O_CLOEXEC);
	must(fd >= 0);
	reset_timeouts();
	for (i = 0; i < nengines; i++) {
		engine = &engines[i];
		check_works(engine);
	}
	close_node();
	return report("engines work after %s", when);
}

/* Part two: the device itself */

struct page {
	uint64_t *map;
	uint64_t pa;
};

static struct page data_pages[DATA_PAGES];
static struct page tables[LEVELS][TABLE_PAGES];		/* level 0: of page table entries */
static volatile uint8_t *bar0, *aperture;
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

/* Of a table: to one of the next level, which is read-only if it is taken for a page */
static uint64_t random_pde(unsigned int level)
{
	if (!level)
		return random_pte();
	return below(8) ? one_of(tables[level - 1]).pa | 1 : random_hole();
}

static void write_reg(uint32_t reg, uint32_t value)
{
	*(volatile uint32_t *)(bar0 + reg) = value;
}

static void write_pte(uint32_t index, uint64_t pte)
{
	*(volatile uint64_t *)(bar0 + GGTT + index * 8) = pte;
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
		write_pte(i, random_pte());
}

static uint64_t random_descriptor(void)
{
	/* Valid, mostly with four levels of page tables, of a context somewhere in the GGTT */
	uint64_t page = below(16) ? below(1000) : rnd() & 0xfffff;

	return (uint64_t)rnd() << 32 | page * PAGE | (below(8) ? 3 : 1) << 3 | 1 | (rnd() & 0x106);
}

/*
 * A page that looks like a context's registers, with a ring. It has addresses in the GGTT
 * by chance only, so any data page may become one.
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
		image[n++] = defuse(i == 3 ? below(1000) * PAGE : i == 4 ? below(8) * PAGE | 1 :
				    random_value());
	}
	emit_command(image + n, 64);
}

static void write_page_tables(uint32_t base)
{
	unsigned int i;

	for (i = 0; i < 4; i++) {
		uint64_t pa = below(16) ? one_of(tables[LEVELS - 1]).pa : random_hole();

		write_reg(base + 0x270 + i * 8, pa);
		write_reg(base + 0x274 + i * 8, pa >> 32);
	}
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

#define ACCESS(type) do {						\
	if (write)							\
		*(volatile type *)to = defuse(random_value());		\
	else								\
		(void)*(volatile type *)to;				\
} while (0)

/* All sizes of access, to registers, through the aperture and, only to read, to the GGTT */
static void random_access(void)
{
	uint32_t at = below(4) ? random_reg() & 0xffffff : below(16 << 20);
	uint32_t align = ~((1u << below(4)) - 1);
	volatile uint8_t *to = bar0 + (at & align);
	/* 0xa270 is no PDP */
	bool write = below(2) && at < GGTT && (defuse(at) == at || at >> 12 == 0xa);

	if (!below(4)) {
		to = aperture + (below(4 << 20) & align);
		write = below(2);
	}
	switch (-align) {
	case 1:
		ACCESS(uint8_t);
		break;
	case 2:
		ACCESS(uint16_t);
		break;
	case 4:
		ACCESS(uint32_t);
		break;
	default:
		ACCESS(uint64_t);
	}
}

static void fuzz_device(long long end)
{
	unsigned int rounds = 0, i;

	do {
		const struct engine *e = &engines[below(nengines)];

		for (i = 0; i < ARRAY_SIZE(targets); i++)
			targets[i] = (uint64_t)(i < 5 ? below(1000) : rnd() >> 12) * PAGE;
		if (rounds % 64 == 0)
			fill_memory();
		for (i = 0; i < 8; i++) {
			write_image((uint32_t *)one_of(data_pages).map, e->base);
			emit_garbage((uint32_t *)one_of(data_pages).map, PAGE / 4);
			write_pte(below(1024), random_pte());
		}
		write_page_tables(e->base);
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

static void set_command(uint16_t command)
{
	int file = open(DEVICE "config", O_RDWR | O_CLOEXEC);

	must(file >= 0 && pwrite(file, &command, 2, 4) == 2);
	close(file);
}

static volatile uint8_t *map_bar(const char *path, size_t size)
{
	int file = open(path, O_RDWR | O_SYNC | O_CLOEXEC);
	void *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);

	must(file >= 0 && map != MAP_FAILED);
	close(file);
	return map;
}

static void prepare_device(void)
{
	unsigned int i, k;

	write_file("/sys/bus/pci/drivers/i915/unbind", ADDRESS);
	write_file(DEVICE "power/control", "on");
	write_file(DEVICE "enable", "1");
	set_command(0x406);		/* memory, DMA, no interrupts */
	read_bars();
	bar0 = map_bar(DEVICE "resource0", 16 << 20);
	aperture = map_bar(DEVICE "resource2", 4 << 20);
	for (i = 0; i < DATA_PAGES; i++)
		get_page(&data_pages[i]);
	for (i = 0; i < LEVELS; i++)
		for (k = 0; k < TABLE_PAGES; k++)
			get_page(&tables[i][k]);
	raw = true;
}

static bool fuzz_as_root(long long duration)
{
	prepare_device();
	fuzz_device(now() + duration);
	write_reg(0x941c, 1);
	check(*(volatile uint32_t *)(bar0 + 0x9c + engines[0].base) != ~0u, "no device any more");
	set_command(0x402);		/* no DMA, before this memory is given up */
	munmap((void *)bar0, 16 << 20);
	munmap((void *)aperture, 4 << 20);
	write_file(DEVICE "enable", "0");
	write_file(DEVICE "reset", "1");
	write_file("/sys/bus/pci/drivers/i915/bind", ADDRESS);
	return check_all("garbage in registers and a function level reset");
}

/* gpu_fuzz [seed [seconds]] */
int main(int argc, char **argv)
{
	long seed = argc > 1 ? atol(argv[1]) : 1, seconds = argc > 2 ? atol(argv[2]) : 35;
	bool ok;
	unsigned int i;

	if (!find_engines())
		return 1;
	printf("# seed %ld, %ld seconds\n", seed, seconds);
	rng_state = seed * 0x9e3779b97f4a7c15ull + 1;
	if (setjmp(give_up)) {
		printf("Bail out!\n");
		return 1;
	}
	/* To capture the state of each hang would take most of the time. */
	if (!access(ERROR_CAPTURE, F_OK))
		write_file(ERROR_CAPTURE, "0");
	for (i = 0; i < nengines; i++) {
		set_engine(&engines[i], "preempt_timeout_ms", 50);
		set_engine(&engines[i], "heartbeat_interval_ms", 200);
	}
	fuzz_batches(now() + seconds * SECOND * 6 / 10);
	settle();
	ok = check_all("garbage batches");
	ok &= fuzz_as_root(seconds * SECOND * 4 / 10);
	settle();
	printf("1..%u\n", test_number);
	return !ok;
}
