/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A model of an Intel GPU, graphics 9, 11 or 12, that the i915 driver can probe, submit
 * work to through execlists, and reset. It executes what the memory interface and the
 * blitter of a command streamer do; it renders nothing and has no display and no GuC.
 *
 * This is the PCI device. Documentation/gpu-model.md says what is modelled.
 */
#include "intel_gpu.h"
#include "qemu/module.h"
#include "qemu/range.h"
#include "qapi/error.h"
#include "hw/pci/msi.h"
#include "hw/qdev-properties.h"
#include "migration/vmstate.h"

#define MSI_CAP_OFFSET 0xac
#define AF_CAP_OFFSET  0xa4

static const IntelGPUEngineInfo gen9_engines[] = {
    { "rcs0", 0x02000, CLASS_RENDER, 0, BIT(1), 0, 0 },
    { "bcs0", 0x22000, CLASS_COPY, 0, BIT(3), 0, 16 },
    { "vcs0", 0x12000, CLASS_VIDEO_DECODE, 0, BIT(2), 1, 0 },
    { "vecs0", 0x1a000, CLASS_VIDEO_ENHANCE, 0, BIT(4), 3, 0 },
};

static const IntelGPUEngineInfo gen11_engines[] = {
    { "rcs0", 0x002000, CLASS_RENDER, 0, BIT(1), 0, 0 },
    { "bcs0", 0x022000, CLASS_COPY, 0, BIT(2), 0, 15 },
    { "vcs0", 0x1c0000, CLASS_VIDEO_DECODE, 0, BIT(5), 1, 0 },
    { "vcs2", 0x1d0000, CLASS_VIDEO_DECODE, 2, BIT(7), 1, 2 },
    { "vecs0", 0x1c8000, CLASS_VIDEO_ENHANCE, 0, BIT(13), 1, 31 },
};

#define COMMON_FUSES \
    { SKL_DFSM, DFSM_PIPES_DISABLE }, \
    { SKL_FUSE_STATUS, FUSE_PG_DISTRIBUTED }, \
    { RP_STATE_CAP, 0x060616 }, \
    { GUC_STATUS, GUC_IN_RESET }, \
    { RC6_CTX_INFO, 1 }

static const IntelGPURegValue gen9_fuses[] = {
    COMMON_FUSES,
    { GEN8_FUSE2, BIT(25) },                        /* slice 0 */
    { }
};

static const IntelGPURegValue gen11_fuses[] = {
    COMMON_FUSES,
    { GEN11_GT_SLICE_ENABLE, 1 },
    { GEN11_GT_SUBSLICE, 0 },                       /* none disabled */
    { }
};

static const IntelGPURegValue gen12_fuses[] = {
    COMMON_FUSES,
    { GEN11_GT_SLICE_ENABLE, 1 },
    { GEN11_GT_SUBSLICE, 0x3f },                    /* six dual subslices */
    { GEN11_GT_VEBOX_VDBOX_DISABLE, 0x000e00fa },   /* all but vcs0, vcs2, vecs0 */
    { }
};

static const IntelGPUGeneration generations[] = {
    {
        .version = 9, .device_id = 0x1912, .revision = 6,       /* Skylake GT2 */
        .csb_entries = 6, .csb_write_index = 0x1f,
        .engines = gen9_engines, .num_engines = ARRAY_SIZE(gen9_engines),
        .fuses = gen9_fuses,
    }, {
        .version = 11, .device_id = 0x8a52, .revision = 7,      /* Ice Lake GT2 */
        .csb_entries = 12, .csb_write_index = 0x2f,
        .engines = gen11_engines, .num_engines = ARRAY_SIZE(gen11_engines),
        .fuses = gen11_fuses,
    }, {
        .version = 12, .device_id = 0x9a49, .revision = 3,      /* Tiger Lake GT2 */
        .csb_entries = 12, .csb_write_index = 0x2f,
        .engines = gen11_engines, .num_engines = ARRAY_SIZE(gen11_engines),
        .fuses = gen12_fuses,
    },
};

/* The I/O BAR gives access to the registers without the memory BARs. */
static uint64_t io_read(void *opaque, hwaddr addr, unsigned size)
{
    qemu_log_mask(LOG_UNIMP, "intel-gpu: I/O read of 0x%" HWADDR_PRIx "\n", addr);
    return 0;
}

static void io_write(void *opaque, hwaddr addr, uint64_t value, unsigned size)
{
    qemu_log_mask(LOG_UNIMP, "intel-gpu: I/O write of 0x%" HWADDR_PRIx "\n", addr);
}

static const MemoryRegionOps io_ops = {
    .read = io_read,
    .write = io_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
};

static void intel_gpu_device_reset(DeviceState *dev)
{
    intel_gpu_reset(INTEL_GPU(dev));
}

/* A function level reset, for which there is a capability of plain PCI, too */
static void intel_gpu_config_write(PCIDevice *pci, uint32_t addr, uint32_t value, int len)
{
    pci_default_write_config(pci, addr, value, len);
    if (ranges_overlap(addr, len, AF_CAP_OFFSET + PCI_AF_CTRL, 1) &&
        (value >> (AF_CAP_OFFSET + PCI_AF_CTRL - addr) * 8) & PCI_AF_CTRL_FLR) {
        pci_device_reset(pci);
    }
}

static void init_reset_capability(PCIDevice *pci)
{
    pci_add_capability(pci, PCI_CAP_ID_AF, AF_CAP_OFFSET, PCI_AF_STATUS + 1, &error_abort);
    pci_set_byte(pci->config + AF_CAP_OFFSET + PCI_AF_LENGTH, PCI_AF_STATUS + 1);
    pci_set_byte(pci->config + AF_CAP_OFFSET + PCI_AF_CAP, PCI_AF_CAP_TP | PCI_AF_CAP_FLR);
}

static bool find_generation(IntelGPUState *s, Error **errp)
{
    for (int i = 0; i < ARRAY_SIZE(generations); i++) {
        if (generations[i].version == s->version) {
            s->gen = &generations[i];
            return true;
        }
    }
    error_setg(errp, "gen=%u is not modelled: use 9, 11 or 12", s->version);
    return false;
}

static void init_engines(IntelGPUState *s)
{
    for (int i = 0; i < s->gen->num_engines; i++) {
        IntelGPUEngine *e = &s->engines[i];

        e->gpu = s;
        e->id = i;
        e->info = &s->gen->engines[i];
        e->timer = timer_new_ns(QEMU_CLOCK_VIRTUAL, engine_run, e);
    }
}

static void init_bars(IntelGPUState *s)
{
    PCIDevice *pci = &s->parent_obj;

    memory_region_init_io(&s->mmio, OBJECT(s), &intel_gpu_mmio_ops, s,
                          "intel-gpu.gttmmadr", MMIO_SIZE + GTT_SIZE);
    memory_region_init_io(&s->aperture, OBJECT(s), &intel_gpu_aperture_ops, s,
                          "intel-gpu.gmadr", APERTURE_SIZE);
    memory_region_init_io(&s->io, OBJECT(s), &io_ops, s, "intel-gpu.io", 64);
    pci_register_bar(pci, 0, PCI_BASE_ADDRESS_MEM_TYPE_64, &s->mmio);
    pci_register_bar(pci, 2, PCI_BASE_ADDRESS_MEM_TYPE_64 | PCI_BASE_ADDRESS_MEM_PREFETCH,
                     &s->aperture);
    pci_register_bar(pci, 4, PCI_BASE_ADDRESS_SPACE_IO, &s->io);
}

static void intel_gpu_realize(PCIDevice *pci, Error **errp)
{
    IntelGPUState *s = INTEL_GPU(pci);

    if (!find_generation(s, errp)) {
        return;
    }
    if (msi_init(pci, MSI_CAP_OFFSET, 1, false, false, errp)) {
        return;
    }
    init_reset_capability(pci);
    pci_set_word(pci->config + PCI_DEVICE_ID, s->gen->device_id);
    pci_set_byte(pci->config + PCI_REVISION_ID, s->gen->revision);
    pci_set_word(pci->config + GMCH_CTRL, GMCH_CTRL_GTT_8M);
    pci_config_set_interrupt_pin(pci->config, 1);

    s->regs = g_malloc0(MMIO_SIZE);
    s->gtt = g_malloc0(GTT_SIZE);
    init_engines(s);
    init_bars(s);
}

static void intel_gpu_exit(PCIDevice *pci)
{
    IntelGPUState *s = INTEL_GPU(pci);

    for (int i = 0; i < s->gen->num_engines; i++) {
        timer_free(s->engines[i].timer);
    }
    g_free(s->gtt);
    g_free(s->regs);
    msi_uninit(pci);
}

static Property intel_gpu_properties[] = {
    DEFINE_PROP_UINT32("gen", IntelGPUState, version, 12),
    DEFINE_PROP_BOOL("x-dead", IntelGPUState, dead, false),
    DEFINE_PROP_END_OF_LIST(),
};

static const VMStateDescription vmstate_intel_gpu = {
    .name = TYPE_INTEL_GPU,
    .unmigratable = 1,
};

static void intel_gpu_class_init(ObjectClass *klass, void *data)
{
    DeviceClass *dc = DEVICE_CLASS(klass);
    PCIDeviceClass *pc = PCI_DEVICE_CLASS(klass);

    pc->realize = intel_gpu_realize;
    pc->exit = intel_gpu_exit;
    pc->config_write = intel_gpu_config_write;
    pc->vendor_id = PCI_VENDOR_ID_INTEL;
    pc->class_id = PCI_CLASS_DISPLAY_VGA;
    dc->reset = intel_gpu_device_reset;
    dc->vmsd = &vmstate_intel_gpu;
    dc->desc = "Model of an Intel GPU for tests of the i915 driver";
    device_class_set_props(dc, intel_gpu_properties);
    set_bit(DEVICE_CATEGORY_DISPLAY, dc->categories);
}

static const TypeInfo intel_gpu_type = {
    .name = TYPE_INTEL_GPU,
    .parent = TYPE_PCI_DEVICE,
    .instance_size = sizeof(IntelGPUState),
    .class_init = intel_gpu_class_init,
    .interfaces = (InterfaceInfo[]) {
        { INTERFACE_CONVENTIONAL_PCI_DEVICE },
        { },
    },
};

static void intel_gpu_register_types(void)
{
    type_register_static(&intel_gpu_type);
}

type_init(intel_gpu_register_types)
