/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A model of an Intel GPU, for tests of the i915 driver: what its parts share.
 */
#ifndef HW_DISPLAY_INTEL_GPU_H
#define HW_DISPLAY_INTEL_GPU_H

#include "qemu/osdep.h"
#include "qemu/log.h"
#include "qemu/timer.h"
#include "qemu/units.h"
#include "hw/pci/pci.h"
#include "qom/object.h"
#include "intel_gpu_regs.h"

#define TYPE_INTEL_GPU "intel-gpu"
OBJECT_DECLARE_SIMPLE_TYPE(IntelGPUState, INTEL_GPU)

#define GPU_PAGE_SIZE       4096
#define GPU_PAGE_MASK       (~(uint64_t)(GPU_PAGE_SIZE - 1))
#define MMIO_SIZE           (8 * MiB)
#define GTT_SIZE            (8 * MiB)
#define GTT_ENTRIES         (GTT_SIZE / sizeof(uint64_t))
#define APERTURE_SIZE       (256 * MiB)

#define MAX_ENGINES         5
#define MAX_PORTS           8           /* contexts in one submission */
#define MAX_BATCH_LEVEL     2           /* 0 is the ring */
#define TLB_ENTRIES         16

typedef enum IntelGPUClass {
    CLASS_RENDER,
    CLASS_VIDEO_DECODE,
    CLASS_VIDEO_ENHANCE,
    CLASS_COPY,
} IntelGPUClass;

/* How an engine is wired, which differs between the generations */
typedef struct IntelGPUEngineInfo {
    const char *name;
    uint32_t base;
    IntelGPUClass class;
    unsigned instance;
    uint32_t reset_bit;                 /* of GDRST */
    unsigned irq_bank, irq_bit;         /* of GT_INTR_DW, or the IIR and its lowest bit */
} IntelGPUEngineInfo;

typedef struct IntelGPURegValue {
    uint32_t addr, value;
} IntelGPURegValue;

typedef struct IntelGPUGeneration {
    unsigned version;
    uint16_t device_id;
    uint8_t revision;
    unsigned csb_entries;
    unsigned csb_write_index;           /* dword of the hardware status page */
    const IntelGPUEngineInfo *engines;
    unsigned num_engines;
    const IntelGPURegValue *fuses;      /* read only; ends with address 0 */
} IntelGPUGeneration;

/* A page translation, of the GGTT or of the page tables of the loaded context */
typedef struct IntelGPUTLBEntry {
    bool valid, ggtt, writable;
    uint64_t va, pa;
} IntelGPUTLBEntry;

typedef struct IntelGPUEngine {
    IntelGPUState *gpu;
    const IntelGPUEngineInfo *info;
    unsigned id;
    QEMUTimer *timer;                   /* runs the command streamer */

    /* Submission: written by the driver, pending, executing */
    uint32_t elsp[4];
    unsigned elsp_count;
    uint64_t queue[MAX_PORTS];
    uint64_t pending[MAX_PORTS];
    unsigned num_pending;
    uint64_t ports[MAX_PORTS];
    unsigned num_ports, port;           /* equal: the engine is idle */
    unsigned csb_write;
    uint32_t irq_pending;               /* graphics 11 on */

    /* The loaded context */
    bool loaded;
    uint64_t desc;
    uint32_t timestamp_start;
    uint64_t timestamp_loaded;

    /* Command streamer */
    unsigned level;
    uint64_t batch[MAX_BATCH_LEVEL + 1];
    bool batch_ggtt[MAX_BATCH_LEVEL + 1];
    bool arbitration_off;
    bool waiting;                       /* for a semaphore, and has said so */
    bool hung;
    unsigned predicate;                 /* mode of MI_SET_PREDICATE */
    uint32_t blit_row;                  /* of a blit that is not done yet */

    IntelGPUTLBEntry tlb[TLB_ENTRIES];
} IntelGPUEngine;

struct IntelGPUState {
    PCIDevice parent_obj;

    MemoryRegion mmio, aperture, io;
    const IntelGPUGeneration *gen;
    uint32_t version;                   /* property "gen" */
    bool dead;                          /* property "x-dead": executes nothing */
    uint32_t *regs;
    uint64_t *gtt;
    bool irq_level;
    uint64_t rc6_ns;
    int64_t rc6_since;
    uint32_t pcode_frequencies[256];

    IntelGPUEngine engines[MAX_ENGINES];
    int64_t next_run;                   /* when the CPUs have had their turn, ns */
};

static inline uint32_t *intel_gpu_reg(IntelGPUState *s, uint32_t addr)
{
    return &s->regs[addr / 4];
}

/* A register of the engine, by its offset from the engine's base */
static inline uint32_t *engine_reg(IntelGPUEngine *e, uint32_t offset)
{
    return intel_gpu_reg(e->gpu, e->info->base + offset);
}

static inline uint64_t engine_reg64(IntelGPUEngine *e, uint32_t lo, uint32_t hi)
{
    return (uint64_t)*engine_reg(e, hi) << 32 | *engine_reg(e, lo);
}

static inline bool engine_idle(const IntelGPUEngine *e)
{
    return e->port >= e->num_ports;
}

static inline uint32_t context_page(uint64_t desc)
{
    return desc & 0xfffff000u;
}

static inline uint32_t masked_write(uint32_t old, uint32_t value)
{
    uint32_t mask = value >> 16;

    return (old & ~mask & 0xffff) | (value & mask);
}

/* gtt.c */
bool engine_access(IntelGPUEngine *e, bool ggtt, uint64_t va, void *buf, size_t len, bool write);
uint32_t engine_read32(IntelGPUEngine *e, bool ggtt, uint64_t va);
void engine_write32(IntelGPUEngine *e, bool ggtt, uint64_t va, uint32_t value);
void engine_write64(IntelGPUEngine *e, bool ggtt, uint64_t va, uint64_t value);
void engine_flush_tlb(IntelGPUEngine *e);
extern const MemoryRegionOps intel_gpu_aperture_ops;

/* tiling.c */
typedef enum IntelGPUTiling {
    TILING_NONE,
    TILING_X,
    TILING_Y,
} IntelGPUTiling;
uint64_t intel_gpu_tile_offset(IntelGPUTiling tiling, uint32_t pitch, uint32_t x, uint32_t y);
uint64_t intel_gpu_fence_address(IntelGPUState *s, uint64_t addr);
bool engine_blit(IntelGPUEngine *e, const uint32_t *dw);

/* irq.c */
void intel_gpu_irq_update(IntelGPUState *s);
void engine_raise_irq(IntelGPUEngine *e, uint32_t bits);
bool intel_gpu_irq_read(IntelGPUState *s, uint32_t addr, uint32_t *value);
bool intel_gpu_irq_write(IntelGPUState *s, uint32_t addr, uint32_t value);

/* execlists.c */
void engine_submit_elsp(IntelGPUEngine *e, uint32_t value);
void engine_submit_queue(IntelGPUEngine *e);
void engine_take_pending(IntelGPUEngine *e);
void engine_context_complete(IntelGPUEngine *e);
uint32_t engine_context_timestamp(IntelGPUEngine *e);
void engine_kick(IntelGPUEngine *e, int64_t delay_ns);

/* lrc.c */
bool engine_context_load(IntelGPUEngine *e, uint64_t desc);
void engine_context_save(IntelGPUEngine *e);
void engine_reload_tail(IntelGPUEngine *e);
void engine_save_batch(IntelGPUEngine *e);

/* cs.c */
void engine_run(void *opaque);
void engine_run_privileged(IntelGPUEngine *e, uint32_t ggtt_va, unsigned dwords);
bool intel_gpu_user_writable(IntelGPUEngine *e, uint32_t addr);
uint32_t engine_relative(IntelGPUEngine *e, bool relative, uint32_t addr);

/* mmio.c */
uint32_t intel_gpu_read(IntelGPUState *s, uint32_t addr);
void intel_gpu_write(IntelGPUState *s, uint32_t addr, uint32_t value);
uint64_t intel_gpu_timestamp(void);
extern const MemoryRegionOps intel_gpu_mmio_ops;

/* reset.c */
void engine_reset(IntelGPUEngine *e);
void intel_gpu_reset_domains(IntelGPUState *s, uint32_t domains);
void intel_gpu_reset(IntelGPUState *s);

#endif
