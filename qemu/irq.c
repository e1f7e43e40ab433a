/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Interrupts. Graphics 9 has an IMR, IIR and IER for each of four banks of engines; from
 * 11 on the driver asks which engines of two banks have something to say, selects one,
 * and reads what it is.
 */
#include "intel_gpu.h"
#include "hw/pci/msi.h"

#define INTR_BANKS 2

static uint32_t master_register(IntelGPUState *s)
{
    return s->gen->version >= 11 ? GEN11_GFX_MSTR_IRQ : GEN8_MASTER_IRQ;
}

static uint32_t gen8_master_status(IntelGPUState *s)
{
    /* What the two halves of a bank, or the whole of it, are in the master register */
    static const uint32_t bits[GEN8_GT_BANKS][2] = {
        { BIT(0), BIT(1) }, { BIT(2), BIT(3) }, { BIT(4), BIT(4) }, { BIT(6), BIT(6) },
    };
    uint32_t status = 0;

    for (int i = 0; i < GEN8_GT_BANKS; i++) {
        uint32_t active = *intel_gpu_reg(s, GEN8_GT_IIR(i)) & *intel_gpu_reg(s, GEN8_GT_IER(i));

        status |= (active & 0xffff ? bits[i][0] : 0) | (active >> 16 ? bits[i][1] : 0);
    }
    return status;
}

static uint32_t master_status(IntelGPUState *s)
{
    uint32_t status = 0;

    if (s->gen->version < 11) {
        return gen8_master_status(s);
    }
    for (int i = 0; i < INTR_BANKS; i++) {
        status |= *intel_gpu_reg(s, GEN11_GT_INTR_DW(i)) ? BIT(i) : 0;
    }
    return status;
}

void intel_gpu_irq_update(IntelGPUState *s)
{
    bool level = (*intel_gpu_reg(s, master_register(s)) & MASTER_IRQ_ENABLE) &&
                 master_status(s);

    if (!msi_enabled(&s->parent_obj)) {
        pci_set_irq(&s->parent_obj, level);
    } else if (level && !s->irq_level) {
        msi_notify(&s->parent_obj, 0);
    }
    s->irq_level = level;
}

static void gen8_raise_irq(IntelGPUEngine *e, uint32_t bits)
{
    IntelGPUState *s = e->gpu;
    unsigned bank = e->info->irq_bank;

    /* The mask of the engine is shifted like the IIR. */
    bits = (bits & 0xffff) << e->info->irq_bit;
    bits &= ~*engine_reg(e, RING_IMR) & ~*intel_gpu_reg(s, GEN8_GT_IMR(bank));
    *intel_gpu_reg(s, GEN8_GT_IIR(bank)) |= bits;
}

/* A mask register has two engines; where it has one, that is in the upper half. */
static uint32_t gen11_irq_mask(IntelGPUEngine *e)
{
    static const uint32_t registers[] = {
        [CLASS_RENDER] = GEN11_RCS0_INTR_MASK,
        [CLASS_VIDEO_DECODE] = GEN11_VCS_INTR_MASK(0),
        [CLASS_VIDEO_ENHANCE] = GEN11_VECS_INTR_MASK,
        [CLASS_COPY] = GEN11_BCS_INTR_MASK,
    };
    unsigned instance = e->info->instance;
    uint32_t addr = registers[e->info->class];

    if (e->info->class == CLASS_VIDEO_DECODE) {
        addr = GEN11_VCS_INTR_MASK(instance);
    }
    return *intel_gpu_reg(e->gpu, addr) >> (instance & 1 ? 0 : 16);
}

static void gen11_raise_irq(IntelGPUEngine *e, uint32_t bits)
{
    IntelGPUState *s = e->gpu;
    bool video = e->info->class == CLASS_VIDEO_DECODE || e->info->class == CLASS_VIDEO_ENHANCE;
    uint32_t enabled = *intel_gpu_reg(s, video ? GEN11_VCS_VECS_INTR_ENABLE :
                                                 GEN11_RENDER_COPY_INTR_ENABLE);

    /* The driver enables the same in both halves. */
    bits &= ~*engine_reg(e, RING_IMR) & ~gen11_irq_mask(e) & enabled & 0xffff;
    if (bits) {
        e->irq_pending |= bits;
        *intel_gpu_reg(s, GEN11_GT_INTR_DW(e->info->irq_bank)) |= BIT(e->info->irq_bit);
    }
}

void engine_raise_irq(IntelGPUEngine *e, uint32_t bits)
{
    if (e->gpu->gen->version >= 11) {
        gen11_raise_irq(e, bits);
    } else {
        gen8_raise_irq(e, bits);
    }
    intel_gpu_irq_update(e->gpu);
}

/* The driver has selected an engine: tell it what that engine has to say. */
static void gen11_select(IntelGPUState *s, unsigned bank, uint32_t value)
{
    uint32_t *identity = intel_gpu_reg(s, GEN11_INTR_IDENTITY(bank));

    *identity = INTR_DATA_VALID | INTR_CLASS(INTR_CLASS_OTHER);
    for (int i = 0; i < s->gen->num_engines; i++) {
        IntelGPUEngine *e = &s->engines[i];

        if (e->info->irq_bank == bank && value == BIT(e->info->irq_bit)) {
            *identity = INTR_DATA_VALID | INTR_INSTANCE(e->info->instance) |
                        INTR_CLASS(e->info->class) | e->irq_pending;
            e->irq_pending = 0;
        }
    }
}

/* Clears what was handled, but for engines that have raised something since. */
static void gen11_clear(IntelGPUState *s, unsigned bank, uint32_t value)
{
    uint32_t *status = intel_gpu_reg(s, GEN11_GT_INTR_DW(bank));

    *status &= ~value;
    for (int i = 0; i < s->gen->num_engines; i++) {
        IntelGPUEngine *e = &s->engines[i];

        if (e->info->irq_bank == bank && e->irq_pending) {
            *status |= BIT(e->info->irq_bit);
        }
    }
}

bool intel_gpu_irq_read(IntelGPUState *s, uint32_t addr, uint32_t *value)
{
    if (addr != master_register(s)) {
        return false;
    }
    *value = (*intel_gpu_reg(s, addr) & MASTER_IRQ_ENABLE) | master_status(s);
    return true;
}

static bool gen8_irq_write(IntelGPUState *s, uint32_t addr, uint32_t value)
{
    for (int i = 0; i < GEN8_GT_BANKS; i++) {
        if (addr == GEN8_GT_IIR(i)) {
            *intel_gpu_reg(s, addr) &= ~value;
            return true;
        }
        if (addr == GEN8_GT_IMR(i) || addr == GEN8_GT_IER(i)) {
            *intel_gpu_reg(s, addr) = value;
            return true;
        }
    }
    return false;
}

static bool gen11_irq_write(IntelGPUState *s, uint32_t addr, uint32_t value)
{
    for (int i = 0; i < INTR_BANKS; i++) {
        if (addr == GEN11_GT_INTR_DW(i)) {
            gen11_clear(s, i, value);
            return true;
        }
        if (addr == GEN11_IIR_SELECTOR(i)) {
            gen11_select(s, i, value);
            return true;
        }
        if (addr == GEN11_INTR_IDENTITY(i)) {
            *intel_gpu_reg(s, addr) &= ~value;
            return true;
        }
    }
    return false;
}

bool intel_gpu_irq_write(IntelGPUState *s, uint32_t addr, uint32_t value)
{
    if (addr == master_register(s)) {
        *intel_gpu_reg(s, addr) = value & MASTER_IRQ_ENABLE;
    } else if (addr == GEN8_PCU_IIR || addr == GEN11_GU_MISC_IIR || addr == GEN8_DE_MISC_IIR) {
        *intel_gpu_reg(s, addr) &= ~value;
    } else if (s->gen->version >= 11 ? !gen11_irq_write(s, addr, value) :
                                       !gen8_irq_write(s, addr, value)) {
        return false;
    }
    intel_gpu_irq_update(s);
    return true;
}
