/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Pseudo-random garbage for the GPU, some of it close to what a driver writes.
 */
#ifndef INTEL_GPU_TESTS_GARBAGE_H
#define INTEL_GPU_TESTS_GARBAGE_H

#include "gpu.h"

static uint64_t rng_state;

/* Addresses that are more interesting than others */
static uint64_t targets[8];
static bool raw;			/* without the driver */

static inline uint32_t rnd(void)
{
	rng_state ^= rng_state << 13;
	rng_state ^= rng_state >> 7;
	rng_state ^= rng_state << 17;
	return rng_state >> 16;
}

static inline uint32_t below(uint32_t n)
{
	return rnd() % n;
}

#define one_of(array)	((array)[below(ARRAY_SIZE(array))])

/* Garbage that could write PDP, which holds physical addresses, or the GGTT */
static inline uint32_t defuse(uint32_t dword)
{
	if (raw && ((dword & 0xff0) == 0x270 || (dword & 0xff0) == 0x280))
		dword ^= 0x400;
	if (raw && dword >> 23 == 0x23)		/* MI_UPDATE_GTT */
		dword ^= 1 << 23;
	return dword;
}

static inline uint32_t random_reg(void)
{
	static const uint32_t known[] = {
		0x941c, 0xa278, 0xa188, 0xa270, 0xa008, 0xa090, 0x9120, 0x138124, 0x4260, 0xced8,
		0x44200, 0x44304, 0x44308, 0x4430c, 0x190010, 0x190018, 0x19001c, 0x190030,
		0x190060, 0x190070, 0x190074, 0x190090, 0x100000, 0x100004, 0x1000f8, 0x7000,
		0x7300, BCS_SWCTRL, 0x40000, 0x4000, 0x7ffffc, 0xfffffc, 0xc800, 0xb020, 0x4f100,
	};

	switch (below(4)) {
	case 0:
		return one_of(known);
	case 1:
		return defuse(rnd() & (raw ? 0x7ffffc : 0xfffffc));
	default:
		return defuse(engines[below(nengines)].base + (rnd() & 0x7fc));
	}
}

static inline uint32_t random_value(void)
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

static inline uint64_t random_addr(void)
{
	if (below(16))
		return canonical(one_of(targets) + (below(2) ? below(4096) : below(64) * 4));
	return (uint64_t)rnd() << 32 | rnd();
}

/* The commands that the model knows, with the length that they have */
static const uint32_t headers[] = {
	0, MI(0x02, 0), MI(0x03, 0), MI_ARB_CHECK, MI(0x08, 0), MI(0x08, 1), MI_BATCH_END,
	MI_PREDICATE | 0x82, MI_PREDICATE | 0x93, MI(0x01, 0) | 2, MI(0x14, 0), MI(0x18, 0),
	MI_MATH(4), MI_MATH(12), MI(0x1b, 2), MI_SEMA_WAIT, MI_SEMA_WAIT | 1,
	MI_SEMA_WAIT | 1 << 22, MI_SEMA_WAIT | 1 << 16, MI_STORE, MI_STORE_QWORD,
	MI_STORE | 1 << 22, MI(0x20, 0x3ff), MI(0x21, 1), MI(0x21, 1) | 1 << 21, MI_LRI(1),
	MI_LRI(4), MI_LRI(2) | MI_LRI_CS_MMIO, MI(0x23, 1), MI(0x23, 0x3f), MI_SRM,
	MI_SRM | 1 << 22, MI_FLUSH_DW, MI_FLUSH_DW | 1 << 14, MI_FLUSH_DW | 3 << 14 | 1 << 21,
	MI(0x28, 2), MI_LRM, MI_LRM | 1 << 22, MI_LRR, MI_LRR | 3 << 18, MI(0x2e, 3),
	MI(0x2e, 3) | 3 << 21, MI(0x2f, 1), MI(0x2f, 9) | 1 << 18, MI_BATCH_START,
	MI_BATCH_START | 1 << 22, MI(0x31, 1), MI_BATCH_START | MI_BB_PREDICATE, MI_COND_END,
	MI_COND_END | 1 << 22, 0x7a000004, 0x7a000004, 0x79000002, 0x69040000, 0x7b000005,
	0x50800008, 0x50b06008, 0x54c00008, 0x54f08808, 0x54300005, 0x54300805, 0x53c00008,
	0x7fffffff,
};

static inline uint32_t random_alu(void)
{
	static const uint32_t alu[] = {
		0x08008000, 0x48008401, 0x08108000, 0x48108400, 0x10000000, 0x10100000,
		0x10200000, 0x10300000, 0x10400000, 0x18000831, 0x58001032, 0x18001c33,
	};

	return one_of(alu) ^ (below(4) ? 0 : 1u << below(32));
}

/* The body suits the command now and then: registers and addresses come in their places. */
static inline unsigned int emit_command(uint32_t *at, unsigned int room)
{
	uint32_t header = one_of(headers), n, i, op = header >> 23;

	if (op == 0x1c || op == 0x2f)
		header |= below(64) << (op == 0x1c ? 12 : 8);
	if (!below(8))
		header ^= 1u << below(32);
	n = header >> 29 || op >= 0x10 ? (header & 0x3f) + 2 : 1;
	if ((header & 0xff) == 0xff)
		n = 2;			/* what it claims to have is not there */
	if (n > room)
		n = room;
	at[0] = defuse(header);
	for (i = 1; i < n; i++) {
		uint64_t addr = random_addr();

		if (op == 0x1a) {
			at[i] = defuse(random_alu());
		} else if (i + 1 < n && below(2)) {
			at[i++] = defuse(addr);
			at[i] = defuse(addr >> 32);
		} else {
			at[i] = defuse(below(2) ? random_value() : random_reg());
		}
	}
	return n;
}

static inline void emit_garbage(uint32_t *at, unsigned int n)
{
	unsigned int kind = below(4), i = 0;

	while (i < n) {
		if (kind == 0 || !below(64))
			at[i++] = defuse(rnd());
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

#endif
