/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Address translation: the global GTT, which lies in a BAR, and the page tables of a
 * context, which lie in memory and have three or four levels.
 */
#include "intel_gpu.h"
#include "trace.h"

#define PTE_PRESENT         BIT_ULL(0)
#define PTE_WRITABLE        BIT_ULL(1)
#define PDE_PAGE            BIT_ULL(7)      /* maps a page itself, of 2M or 1G */
#define PDE_64K             BIT_ULL(11)     /* its table has pages of 64K */
#define PTE_ADDRESS         0x7ffffff000ull

#define DESC_ADDRESSING(d)  extract64(d, 3, 2)
#define   ADDRESSING_4LEVEL 3

#define INDEX_BITS          9
#define PAGE_BITS           12

/*
 * Memory only: neither other devices nor, over and over again, the BARs of this one can
 * be reached by what a guest puts into page tables.
 */
static bool dma(IntelGPUState *s, uint64_t pa, void *buf, size_t len, bool write)
{
    return pci_dma_rw(&s->parent_obj, pa, buf, len,
                      write ? DMA_DIRECTION_FROM_DEVICE : DMA_DIRECTION_TO_DEVICE,
                      (MemTxAttrs) { .memory = true }) == MEMTX_OK;
}

static uint64_t read_entry(IntelGPUState *s, uint64_t table, unsigned index)
{
    uint64_t entry = 0;

    dma(s, (table & PTE_ADDRESS) + index * sizeof(entry), &entry, sizeof(entry), false);
    return le64_to_cpu(entry);
}

static bool ggtt_translate(IntelGPUState *s, uint64_t va, uint64_t *pa)
{
    uint64_t index = va / GPU_PAGE_SIZE, entry;

    if (index >= GTT_ENTRIES) {
        return false;
    }
    entry = le64_to_cpu(s->gtt[index]);
    if (!(entry & PTE_PRESENT)) {
        return false;
    }
    *pa = (entry & PTE_ADDRESS) | (va & ~GPU_PAGE_MASK);
    return true;
}

/* Fills in *tlb with the page of va, of whatever size it is mapped with. */
static bool ppgtt_translate(IntelGPUEngine *e, uint64_t va, IntelGPUTLBEntry *tlb)
{
    bool four_levels = DESC_ADDRESSING(e->desc) == ADDRESSING_4LEVEL;
    unsigned pdp = four_levels ? 0 : extract64(va, 30, 2);
    uint64_t table = engine_reg64(e, RING_PDP_LDW(pdp), RING_PDP_UDW(pdp));
    bool pages_64k = false;
    unsigned shift, index;
    uint64_t entry;
    int level;

    for (level = four_levels ? 3 : 1; ; level--) {
        shift = PAGE_BITS + level * INDEX_BITS;
        index = extract64(va, shift, INDEX_BITS);
        if (level == 0 && pages_64k) {
            shift += 4;
            index &= ~0xf;
        }
        entry = read_entry(e->gpu, table, index);
        if (!(entry & PTE_PRESENT)) {
            return false;
        }
        if (level == 0 || (level < 3 && (entry & PDE_PAGE))) {
            break;
        }
        pages_64k = level == 1 && (entry & PDE_64K);
        table = entry;
    }

    tlb->writable = entry & PTE_WRITABLE;
    tlb->pa = ((entry & PTE_ADDRESS) & ~MAKE_64BIT_MASK(0, shift)) |
              (va & MAKE_64BIT_MASK(0, shift) & GPU_PAGE_MASK);
    return true;
}

static IntelGPUTLBEntry *translate(IntelGPUEngine *e, bool ggtt, uint64_t va)
{
    IntelGPUTLBEntry *tlb = &e->tlb[(va / GPU_PAGE_SIZE) % TLB_ENTRIES];

    if (tlb->valid && tlb->ggtt == ggtt && tlb->va == (va & GPU_PAGE_MASK)) {
        return tlb;
    }
    tlb->valid = false;
    tlb->writable = true;
    if (ggtt ? !ggtt_translate(e->gpu, va & GPU_PAGE_MASK, &tlb->pa) :
               !ppgtt_translate(e, va & GPU_PAGE_MASK, tlb)) {
        return NULL;
    }
    tlb->valid = true;
    tlb->ggtt = ggtt;
    tlb->va = va & GPU_PAGE_MASK;
    return tlb;
}

void engine_flush_tlb(IntelGPUEngine *e)
{
    for (int i = 0; i < TLB_ENTRIES; i++) {
        e->tlb[i].valid = false;
    }
}

/* The first fault stays until the driver clears it. */
static void record_fault(IntelGPUEngine *e, bool ggtt, uint64_t va, bool write, unsigned type)
{
    IntelGPUState *s = e->gpu;
    bool gen12 = s->gen->version >= 12;
    uint32_t *fault = intel_gpu_reg(s, gen12 ? GEN12_RING_FAULT : GEN8_RING_FAULT);
    uint32_t *data = intel_gpu_reg(s, gen12 ? GEN12_FAULT_TLB_DATA0 : GEN8_FAULT_TLB_DATA0);

    trace_intel_gpu_fault(e->info->name, ggtt, va, write);
    *engine_reg(e, RING_DMA_FADD) = va;
    *engine_reg(e, RING_DMA_FADD_UDW) = va >> 32;
    if (*fault & FAULT_VALID) {
        return;
    }
    *fault = FAULT_ENGINE(e->id) | FAULT_TYPE(type) | FAULT_VALID;
    data[0] = va >> PAGE_BITS;
    data[1] = extract64(va, 44, 4) | (ggtt ? FAULT_GTT_SEL : 0);
}

/*
 * Reads or writes what the engine addresses. Of what is not mapped nothing is read; what
 * is written there, or to a read-only page, is lost, which is no failure to the engine.
 */
bool engine_access(IntelGPUEngine *e, bool ggtt, uint64_t va, void *buf, size_t len, bool write)
{
    uint8_t *p = buf;

    va = ggtt ? va & UINT32_MAX : va & MAKE_64BIT_MASK(0, 48);
    while (len) {
        size_t n = MIN(len, GPU_PAGE_SIZE - (va & ~GPU_PAGE_MASK));
        IntelGPUTLBEntry *tlb = translate(e, ggtt, va);

        if (!tlb) {
            record_fault(e, ggtt, va, write, FAULT_INVALID_PTE);
            return false;
        }
        if (write && !tlb->writable) {
            record_fault(e, ggtt, va, write, FAULT_READ_ONLY);
        } else if (!dma(e->gpu, tlb->pa | (va & ~GPU_PAGE_MASK), p, n, write)) {
            return false;
        }
        p += n;
        va += n;
        len -= n;
    }
    return true;
}

uint32_t engine_read32(IntelGPUEngine *e, bool ggtt, uint64_t va)
{
    uint32_t value = 0;

    engine_access(e, ggtt, va, &value, sizeof(value), false);
    return le32_to_cpu(value);
}

void engine_write32(IntelGPUEngine *e, bool ggtt, uint64_t va, uint32_t value)
{
    value = cpu_to_le32(value);
    engine_access(e, ggtt, va, &value, sizeof(value), true);
}

void engine_write64(IntelGPUEngine *e, bool ggtt, uint64_t va, uint64_t value)
{
    value = cpu_to_le64(value);
    engine_access(e, ggtt, va, &value, sizeof(value), true);
}

/*
 * The aperture: the CPU's way through the global GTT, and through the fences, which make
 * tiled memory look linear.
 */
static uint64_t aperture_read(void *opaque, hwaddr addr, unsigned size)
{
    IntelGPUState *s = opaque;
    uint64_t value = 0, pa;

    if (ggtt_translate(s, intel_gpu_fence_address(s, addr), &pa)) {
        dma(s, pa, &value, size, false);
    }
    return le64_to_cpu(value);
}

static void aperture_write(void *opaque, hwaddr addr, uint64_t value, unsigned size)
{
    IntelGPUState *s = opaque;
    uint64_t pa;

    value = cpu_to_le64(value);
    if (ggtt_translate(s, intel_gpu_fence_address(s, addr), &pa)) {
        dma(s, pa, &value, size, true);
    }
}

const MemoryRegionOps intel_gpu_aperture_ops = {
    .read = aperture_read,
    .write = aperture_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .valid = { .min_access_size = 1, .max_access_size = 8 },
    .impl = { .min_access_size = 1, .max_access_size = 8 },
};
