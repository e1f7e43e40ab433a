// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Checks what the blitter and the fence registers of the modelled GPU make of tiled
 * surfaces, against tiling and copying by the CPU.
 */
#include "gpu.h"

#define PITCH	1536u
#define HEIGHT	96u

struct surface {
	struct bo *bo;
	unsigned int tiling;	/* I915_TILING_ */
};

/* Where a byte of a surface is: tiles are 512 bytes by 8 rows, or 128 by 32, of 16-byte columns */
static uint32_t tiled(unsigned int tiling, uint32_t x, uint32_t y)
{
	switch (tiling) {
	case I915_TILING_X:
		return (y / 8 * (PITCH / 512) + x / 512) * PAGE + y % 8 * 512 + x % 512;
	case I915_TILING_Y:
		return (y / 32 * (PITCH / 128) + x / 128) * PAGE + x % 128 / 16 * 512 +
		       y % 32 * 16 + x % 16;
	default:
		return y * PITCH + x;
	}
}

static struct surface surface(unsigned int tiling, uint32_t seed)
{
	struct surface s = { .bo = bo_create(PITCH * HEIGHT), .tiling = tiling };

	bo_fill(s.bo, seed);
	return s;
}

enum { XY_COLOR_BLT = 0x50, XY_SRC_COPY_BLT = 0x53, XY_FAST_COPY_BLT = 0x42 };

struct blit {
	unsigned int op, bytes;		/* of a pixel */
	struct surface dst, src;
	uint32_t x, y, w, h, sx, sy, color;
};

static uint32_t blit_pitch(const struct surface *s)
{
	return s->tiling ? PITCH / 4 : PITCH;
}

static uint32_t blit_header(const struct blit *t)
{
	uint32_t header = 2u << 29 | t->op << 22 | (t->op == XY_COLOR_BLT ? 5 : 8);

	if (t->op == XY_FAST_COPY_BLT)
		return header | t->src.tiling << 20 | t->dst.tiling << 13;
	return header | 3 << 20 | (t->src.tiling ? 1 << 15 : 0) | (t->dst.tiling ? 1 << 11 : 0);
}

static void emit_blit(struct batch *b, const struct blit *t)
{
	uint32_t depth = (t->bytes == 4 ? 3 : t->bytes - 1) << 24;
	uint32_t rop = t->op == XY_COLOR_BLT ? 0xf0 : t->op == XY_SRC_COPY_BLT ? 0xcc : 0;

	emit_lri(b, BCS_SWCTRL, 3 << 16 | (t->src.tiling == I915_TILING_Y) |
		 (t->dst.tiling == I915_TILING_Y) << 1);
	emit(b, blit_header(t));
	emit(b, depth | rop << 16 | blit_pitch(&t->dst));
	emit(b, t->y << 16 | t->x);
	emit(b, (t->y + t->h) << 16 | (t->x + t->w));
	emit_ref(b, t->dst.bo, 0);
	if (t->op == XY_COLOR_BLT) {
		emit(b, t->color);
	} else {
		emit(b, t->sy << 16 | t->sx);
		emit(b, blit_pitch(&t->src));
		emit_ref(b, t->src.bo, 0);
	}
	emit(b, MI_FLUSH_DW);
	emit_addr(b, 0);
	emit_addr(b, 0);
}

/* The same, by the CPU */
static void expect_blit(const struct blit *t)
{
	uint8_t *dst = (void *)t->dst.bo->want;
	uint32_t x, y;

	for (y = 0; y < t->h; y++) {
		for (x = 0; x < t->w * t->bytes; x++) {
			uint32_t to = tiled(t->dst.tiling, t->x * t->bytes + x, t->y + y);

			if (t->op == XY_COLOR_BLT)
				dst[to] = t->color >> x % t->bytes * 8;
			else
				dst[to] = ((uint8_t *)t->src.bo->want)
					[tiled(t->src.tiling, t->sx * t->bytes + x, t->sy + y)];
		}
	}
}

static void run_blit(struct blit *t, uint32_t ctx)
{
	struct batch b = batch_create();
	char what[64];

	emit_blit(&b, t);
	expect_blit(t);
	check(!run(&b, ctx), "refused");
	snprintf(what, sizeof(what), "blit %x, tiling %u to %u, %u bytes", t->op, t->src.tiling,
		 t->dst.tiling, t->bytes);
	check_bo(t->dst.bo, what);
}

static void test_blits(void)
{
	static const unsigned int ops[] = { XY_COLOR_BLT, XY_SRC_COPY_BLT, XY_FAST_COPY_BLT };
	uint32_t ctx = ctx_create(engine, 0, 0);
	unsigned int i;

	for (i = 0; i < 81; i++) {
		struct blit t = { .op = ops[i / 27], .bytes = 1 << i % 3 };
		unsigned int src = i / 3 % 3, dst = i / 9 % 3;

		/* Not of the fast copy of generation 12, see fastblit_supports_x_tiling() */
		if (t.op == XY_FAST_COPY_BLT && gen == 12 &&
		    (src == I915_TILING_X || dst == I915_TILING_X))
			continue;
		if (t.op == XY_COLOR_BLT && src)
			continue;
		t.dst = surface(dst, i);
		t.src = surface(src, 5000 + i);
		t.x = 5 + i;
		t.y = 3;
		t.w = 200 + i;
		t.h = 70;
		t.sx = 37;
		t.sy = 11;
		t.color = 0x89abcdef;
		run_blit(&t, ctx);
	}
}

static void set_domain(const struct bo *bo, uint32_t read, uint32_t write)
{
	struct drm_i915_gem_set_domain set = { .handle = bo->handle, .read_domains = read,
					       .write_domain = write };

	must(!ioctl(fd, DRM_IOCTL_I915_GEM_SET_DOMAIN, &set));
}

/* Through the aperture, where a fence register makes a tiled object look linear */
static void test_fences(void)
{
	uint32_t ctx = ctx_create(engine, 0, 0), tiling, x, y;

	must(getparam(I915_PARAM_NUM_FENCES_AVAIL) > 0);
	for (tiling = I915_TILING_NONE; tiling <= I915_TILING_Y; tiling++) {
		struct surface s = surface(tiling, tiling);
		struct drm_i915_gem_set_tiling set = { .handle = s.bo->handle,
						       .tiling_mode = tiling, .stride = PITCH };
		struct blit t = { .op = XY_SRC_COPY_BLT, .bytes = 4, .dst = surface(0, 9),
				  .src = s, .w = PITCH / 4, .h = HEIGHT };
		uint32_t *gtt, bad = 0;

		must(!ioctl(fd, DRM_IOCTL_I915_GEM_SET_TILING, &set));
		must(set.swizzle_mode == I915_BIT_6_SWIZZLE_NONE);
		gtt = bo_mmap(s.bo, I915_MMAP_OFFSET_GTT);
		set_domain(s.bo, I915_GEM_DOMAIN_GTT, I915_GEM_DOMAIN_GTT);
		for (y = 0; y < HEIGHT; y++) {
			for (x = 0; x < PITCH / 4; x += 1 + (x + y) % 3) {
				uint32_t at = tiled(tiling, x * 4, y) / 4;

				bad += gtt[y * PITCH / 4 + x] != s.bo->want[at];
				s.bo->want[at] = y << 16 | x;
				gtt[y * PITCH / 4 + x] = y << 16 | x;
			}
		}
		set_domain(s.bo, I915_GEM_DOMAIN_CPU, 0);
		check(!bad, "tiling %u: %u dwords are misread through the fence", tiling, bad);
		check_bo(s.bo, "written through a fence");
		run_blit(&t, ctx);
		munmap(gtt, s.bo->size);
	}
}

static const struct test tests[] = {
	{ "blits", test_blits, I915_ENGINE_CLASS_COPY },
	{ "fences", test_fences, I915_ENGINE_CLASS_COPY },
};

/* gpu_blit [name]: runs all tests, or those whose name contains this */
int main(int argc, char **argv)
{
	return run_tests(tests, ARRAY_SIZE(tests), argc > 1 ? argv[1] : NULL);
}
