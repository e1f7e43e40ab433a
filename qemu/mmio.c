/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The registers and the BAR that they share with the global GTT.
 */
#include "intel_gpu.h"
#include "trace.h"

#define TIMESTAMP_HZ        3000000         /* what the driver is told by the fuses */
#define RC6_UNIT_NS         1280

/* The driver waits until the acknowledgement is what it has asked for. */
static const struct {
    uint32_t request, ack;
} forcewake[] = {
    { FORCEWAKE_RENDER, 0xd84 }, { FORCEWAKE_GT, 0x130044 }, { FORCEWAKE_MEDIA, 0xd88 },
    { 0xa540, 0xd50 }, { 0xa544, 0xd54 }, { 0xa548, 0xd58 }, { 0xa54c, 0xd5c },
    { 0xa560, 0xd70 }, { 0xa564, 0xd74 },
};

/*
 * Registers that keep what is written to them, which is all that the driver needs of
 * them: it sets them up, and checks that they stay so. Others do that as well, but the
 * log says so, as nobody has looked at what they ought to do.
 */
static const struct {
    uint32_t first, last;
} storage[] = {
    { 0x000d00, 0x000fff },                 /* power wells, multicast steering */
    { 0x004000, 0x004fff },                 /* memory interface, MOCS, faults */
    { 0x005000, 0x0073ff },                 /* 3D pipeline */
    { 0x008000, 0x0087ff },                 /* timestamps, RC6 context */
    { 0x009000, 0x0095ff },                 /* fuses, clock gating */
    { 0x00a000, 0x00a5ff },                 /* power management */
    { 0x00b000, 0x00b4ff },                 /* L3 cache */
    { 0x00c000, 0x00cfff },                 /* GuC, MOCS, TLBs */
    { 0x00e000, 0x00e7ff },                 /* execution units */
    { 0x010000, 0x0100ff },                 /* MOCS of the second media engine */
    { 0x042000, 0x0464ff },                 /* what is left of the display */
    { 0x051000, 0x051000 },
    { 0x100000, 0x1010ff },                 /* fences */
    { 0x120000, 0x1200ff },
    { 0x130000, 0x1300ff },                 /* media power well */
    { 0x138100, 0x1381ff },                 /* pcode, RC6 counters */
    { 0x140000, 0x147fff },                 /* mirror of the memory controller */
    { 0x190000, 0x1900ff },                 /* interrupts */
    { 0x1c3f00, 0x1c3fff },
    { 0x1d3f00, 0x1d3fff },
};

/* Upper half: which bits of the lower half are written */
static const struct {
    uint32_t first, last;
} masked[] = {
    { 0x7000, 0x701c }, { 0x7300, 0x731c }, { 0xe180, 0xe19c },
};

/* Commands that are done at once: flushes and invalidations */
static const uint32_t self_clearing[] = {
    GFX_FLSH_CNTL,
    0x4208, 0x4218, 0x4238, 0x4248, 0x4298,                     /* AUX tables */
    0x4260, 0x4264, 0x4268, 0x426c, 0x4270, 0x4274,             /* TLBs, up to 11 */
    0xced8, 0xcedc, 0xcee0, 0xcee4, 0xcf04,                     /* TLBs, from 12 on */
};

/*
 * The power wells of the display, which older drivers turn on although it is fused off.
 * They wait until the bit below that of a request says that the well is on.
 */
static bool is_power_well(uint32_t addr)
{
    return addr >= PWR_WELL_CTL && addr <= PWR_WELL_CTL_DDI4;
}

uint64_t intel_gpu_timestamp(void)
{
    return muldiv64(qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL), TIMESTAMP_HZ, NANOSECONDS_PER_SECOND);
}

static IntelGPUEngine *find_engine(IntelGPUState *s, uint32_t addr)
{
    for (int i = 0; i < s->gen->num_engines; i++) {
        if (addr - s->engines[i].info->base < RING_REGS_SIZE) {
            return &s->engines[i];
        }
    }
    return NULL;
}

static void log_unlisted(uint32_t addr, const char *what)
{
    for (int i = 0; i < ARRAY_SIZE(storage); i++) {
        if (addr >= storage[i].first && addr <= storage[i].last) {
            return;
        }
    }
    qemu_log_mask(LOG_UNIMP, "intel-gpu: %s register 0x%06x\n", what, addr);
}

/* The GT sleeps when nothing runs and the driver does not keep it awake. */
static void account_rc6(IntelGPUState *s)
{
    int64_t now = qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL);
    bool enabled = extract32(*intel_gpu_reg(s, RC_CONTROL), 18, 2) ||
                   extract32(*intel_gpu_reg(s, RC_STATE), 16, 3);
    bool busy = *intel_gpu_reg(s, FORCEWAKE_RENDER) | *intel_gpu_reg(s, FORCEWAKE_GT) |
                *intel_gpu_reg(s, FORCEWAKE_MEDIA);

    for (int i = 0; i < s->gen->num_engines; i++) {
        busy |= !engine_idle(&s->engines[i]);
    }
    if (enabled && !busy) {
        s->rc6_ns += now - s->rc6_since;
    }
    s->rc6_since = now;
}

static uint32_t engine_reg_read(IntelGPUEngine *e, uint32_t offset)
{
    uint32_t value = *engine_reg(e, offset);

    switch (offset) {
    case RING_MI_MODE:
        return (value & 0xffff & ~MODE_IDLE) |
               (engine_idle(e) || (value & STOP_RING) ? MODE_IDLE : 0);
    case RING_TIMESTAMP:
        return intel_gpu_timestamp();
    case RING_TIMESTAMP_UDW:
        return intel_gpu_timestamp() >> 32;
    case RING_CTX_TIMESTAMP:
        return engine_context_timestamp(e);
    case RING_CONTEXT_STATUS_PTR:
        return e->csb_write;
    case RING_EXECLIST_STATUS_LO:
        return engine_idle(e) ? 0 : EXECLIST_ACTIVE;
    case RING_EXECLIST_STATUS_HI:           /* how the driver finds who hangs */
        return engine_idle(e) ? 0 : e->ports[e->port] >> 32;
    default:
        return value;
    }
}

uint32_t intel_gpu_read(IntelGPUState *s, uint32_t addr)
{
    IntelGPUEngine *e;
    uint32_t value;

    if (addr >= MMIO_SIZE) {
        return 0;
    }
    e = find_engine(s, addr);
    if (e) {
        return engine_reg_read(e, addr - e->info->base);
    }
    if (intel_gpu_irq_read(s, addr, &value)) {
        return value;
    }
    switch (addr) {
    case RPSTAT1:                           /* it runs as fast as it was asked to */
        return *intel_gpu_reg(s, RPNSWREQ) & 0xff800000u;
    case GEN12_RPSTAT1:
        return extract32(*intel_gpu_reg(s, RPNSWREQ), 23, 9) << 11;
    case GT_RC6_RESIDENCY:
        account_rc6(s);
        return s->rc6_ns / RC6_UNIT_NS;
    default:
        log_unlisted(addr, "read of");
        return *intel_gpu_reg(s, addr);
    }
}

static void write_queue(IntelGPUEngine *e, unsigned dword, uint32_t value)
{
    uint64_t *desc = &e->queue[dword / 2];

    *desc = deposit64(*desc, dword % 2 * 32, 32, value);
}

static void engine_reg_write(IntelGPUEngine *e, uint32_t offset, uint32_t value)
{
    uint32_t *reg = engine_reg(e, offset);
    bool gen11 = e->gpu->gen->version >= 11;

    switch (offset) {
    case RING_ELSP:
        if (!gen11) {
            engine_submit_elsp(e, value);
        }
        break;
    case RING_SQ_CONTENTS ... RING_SQ_CONTENTS + MAX_PORTS * 8 - 4:
        write_queue(e, (offset - RING_SQ_CONTENTS) / 4, value);
        break;
    case RING_EXECLIST_CONTROL:
        if (gen11 && (value & EL_CTRL_LOAD)) {
            engine_submit_queue(e);
        }
        break;
    case RING_MI_MODE:
        *reg = masked_write(*reg, value);
        if (!(*reg & STOP_RING)) {
            engine_kick(e, 0);
        }
        break;
    case RING_MODE:
    case RING_INSTPM:
    case RING_CONTEXT_CONTROL:
    case RING_PSMI_CTL:
    case CS_CHICKEN1:
        *reg = masked_write(*reg, value);
        break;
    case BCS_SWCTRL:
        *reg = e->info->class == CLASS_COPY ? masked_write(*reg, value) : value;
        break;
    case RING_RESET_CTL:
        *reg = masked_write(*reg, value) & RESET_CTL_REQUEST ?
               RESET_CTL_REQUEST | RESET_CTL_READY : 0;
        break;
    case RING_CONTEXT_STATUS_PTR:
        if (value >> 16) {
            e->csb_write = (value & (value >> 16) & 0xf) % e->gpu->gen->csb_entries;
        }
        break;
    case RING_EIR:
        *reg &= ~value;
        break;
    case RING_TIMESTAMP:
    case RING_TIMESTAMP_UDW:
        break;
    default:
        *reg = value;
    }
}

static bool is_fuse(IntelGPUState *s, uint32_t addr)
{
    for (const IntelGPURegValue *fuse = s->gen->fuses; fuse->addr; fuse++) {
        if (addr == fuse->addr) {
            return true;
        }
    }
    return false;
}

static bool write_forcewake(IntelGPUState *s, uint32_t addr, uint32_t value)
{
    for (int i = 0; i < ARRAY_SIZE(forcewake); i++) {
        if (addr == forcewake[i].request) {
            uint32_t *request = intel_gpu_reg(s, addr);

            account_rc6(s);
            *request = masked_write(*request, value);
            *intel_gpu_reg(s, forcewake[i].ack) = *request;
            return true;
        }
    }
    return false;
}

/*
 * The mailbox of the power controller: done at once, and without an answer but for the
 * table of what the CPU runs at for each frequency of the GPU, which the driver writes.
 */
static void write_pcode(IntelGPUState *s, uint32_t value)
{
    uint32_t *data = intel_gpu_reg(s, PCODE_DATA);
    uint32_t *entry = &s->pcode_frequencies[*data & 0xff];

    switch (value & PCODE_COMMAND) {
    case PCODE_WRITE_MIN_FREQ_TABLE:
        *entry = *data;
        break;
    case PCODE_READ_MIN_FREQ_TABLE:
        *data = *entry >> 8;                    /* without the frequency of the GPU */
        break;
    }
    *intel_gpu_reg(s, PCODE_MAILBOX) = 0;
}

static uint32_t written_value(IntelGPUState *s, uint32_t addr, uint32_t value)
{
    for (int i = 0; i < ARRAY_SIZE(masked); i++) {
        if (addr >= masked[i].first && addr <= masked[i].last) {
            return masked_write(*intel_gpu_reg(s, addr), value);
        }
    }
    for (int i = 0; i < ARRAY_SIZE(self_clearing); i++) {
        if (addr == self_clearing[i]) {
            return 0;
        }
    }
    if (is_power_well(addr)) {
        return (value & PWR_WELL_REQUESTS) | (value & PWR_WELL_REQUESTS) >> 1;
    }
    return value;
}

void intel_gpu_write(IntelGPUState *s, uint32_t addr, uint32_t value)
{
    IntelGPUEngine *e;

    if (addr >= MMIO_SIZE || is_fuse(s, addr)) {
        return;
    }
    e = find_engine(s, addr);
    if (e) {
        engine_reg_write(e, addr - e->info->base, value);
    } else if (addr == GDRST) {
        intel_gpu_reset_domains(s, value);
    } else if (addr == PCODE_MAILBOX) {
        write_pcode(s, value);
    } else if (!write_forcewake(s, addr, value) && !intel_gpu_irq_write(s, addr, value)) {
        log_unlisted(addr, "write to");
        *intel_gpu_reg(s, addr) = written_value(s, addr, value);
    }
}

static uint64_t mmio_read(void *opaque, hwaddr addr, unsigned size)
{
    IntelGPUState *s = opaque;
    uint32_t value;

    if (addr >= MMIO_SIZE) {
        return ldn_le_p((uint8_t *)s->gtt + (addr - MMIO_SIZE), size);
    }
    if (size == 8) {
        return (uint64_t)intel_gpu_read(s, addr + 4) << 32 | intel_gpu_read(s, addr);
    }
    value = intel_gpu_read(s, addr & ~3ull);
    trace_intel_gpu_read(addr, value);
    return extract32(value, (addr & 3) * 8, size * 8);
}

static void mmio_write(void *opaque, hwaddr addr, uint64_t value, unsigned size)
{
    IntelGPUState *s = opaque;

    if (addr >= MMIO_SIZE) {
        stn_le_p((uint8_t *)s->gtt + (addr - MMIO_SIZE), size, value);
        return;
    }
    if (size < 4) {
        value = deposit32(intel_gpu_read(s, addr & ~3ull), (addr & 3) * 8, size * 8, value);
    }
    trace_intel_gpu_write(addr, value);
    intel_gpu_write(s, addr & ~3ull, value);
    if (size == 8) {
        intel_gpu_write(s, addr + 4, value >> 32);
    }
}

const MemoryRegionOps intel_gpu_mmio_ops = {
    .read = mmio_read,
    .write = mmio_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .valid = { .min_access_size = 1, .max_access_size = 8 },
    .impl = { .min_access_size = 1, .max_access_size = 8 },
};
