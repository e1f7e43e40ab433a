/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Registers and commands of Intel graphics 9, 11 and 12, as far as the model knows
 * them. Names are those of the i915 driver; single-letter prefixes are left out.
 */
#ifndef HW_DISPLAY_INTEL_GPU_REGS_H
#define HW_DISPLAY_INTEL_GPU_REGS_H

#include "qemu/bitops.h"

/* PCI configuration space */
#define GMCH_CTRL               0x50
#define   GMCH_CTRL_GTT_8M      (3 << 6)    /* and no stolen memory */

/*
 * Registers of an engine, relative to its base
 */
#define RING_TAIL               0x030
#define   TAIL_ADDR             0x001ffff8
#define RING_HEAD               0x034
#define   HEAD_ADDR             0x001ffffc
#define RING_START              0x038
#define RING_CTL                0x03c
#define   RING_NR_PAGES         0x001ff000
#define RING_PSMI_CTL           0x050
#define RING_ACTHD_UDW          0x05c
#define RING_DMA_FADD_UDW       0x060
#define RING_IPEHR              0x068
#define RING_INSTDONE           0x06c
#define RING_ACTHD              0x074
#define RING_DMA_FADD           0x078
#define RING_HWS_PGA            0x080
#define RING_MI_MODE            0x09c
#define   MODE_IDLE             BIT(9)
#define   STOP_RING             BIT(8)
#define RING_IMR                0x0a8
#define RING_EIR                0x0b0
#define   EIR_INSTRUCTION_ERROR BIT(0)
#define RING_EMR                0x0b4
#define RING_INSTPM             0x0c0
#define RING_RESET_CTL          0x0d0
#define   RESET_CTL_REQUEST     BIT(0)
#define   RESET_CTL_READY       BIT(1)
#define RING_BBSTATE            0x110
#define   RING_BB_PPGTT         BIT(5)
#define RING_BBADDR             0x140
#define   RING_BB_VALID         BIT(0)
#define RING_BBADDR_UDW         0x168
#define RING_BB_PER_CTX_PTR     0x1c0
#define   PER_CTX_BB_VALID      BIT(0)
#define RING_INDIRECT_CTX       0x1c4
#define   INDIRECT_CTX_LINES    0x3f        /* its size, in cache lines */
#define BCS_SWCTRL              0x200
#define   BCS_SRC_Y             BIT(0)
#define   BCS_DST_Y             BIT(1)
#define CMD_BUF_CCTL            0x084
#define BLIT_CCTL               0x204
#define RING_ELSP               0x230
#define RING_EXECLIST_STATUS_LO 0x234
#define   EXECLIST_ACTIVE       BIT(14)
#define RING_EXECLIST_STATUS_HI 0x238
#define RING_CONTEXT_CONTROL    0x244
#define   CTX_RESTORE_INHIBIT   BIT(0)
#define RING_PDP_LDW(n)         (0x270 + (n) * 8)
#define RING_PDP_UDW(n)         (0x274 + (n) * 8)
#define RING_MODE               0x29c
#define RING_TIMESTAMP          0x358
#define RING_TIMESTAMP_UDW      0x35c
#define RING_CONTEXT_STATUS_PTR 0x3a0
#define RING_CTX_TIMESTAMP      0x3a8
#define MI_PREDICATE_RESULT_2   0x3bc
#define MI_PREDICATE_SRC0       0x400
#define MI_PREDICATE_SRC1       0x408
#define MI_PREDICATE_RESULT     0x418
#define MI_PREDICATE_RESULT_1   0x41c
#define RING_NONPRIV(n)         (0x4d0 + (n) * 4)
#define   NONPRIV_SLOTS         12
#define   NONPRIV_DENY          BIT(30)
#define   NONPRIV_ACCESS(v)     extract32(v, 28, 2)
#define   NONPRIV_ACCESS_RD     1
#define   NONPRIV_ADDRESS       0x03fffffc
#define   NONPRIV_RANGE(v)      (4u << (2 * extract32(v, 0, 2)))    /* bytes */
#define RING_SQ_CONTENTS        0x510
#define RING_EXECLIST_CONTROL   0x550
#define   EL_CTRL_LOAD          BIT(0)
#define CS_CHICKEN1             0x580
#define CS_GPR                  0x600
#define   CS_GPR_COUNT          16
#define RING_REGS_SIZE          0x800

/* Interrupts of an engine */
#define GT_USER_INTERRUPT       BIT(0)
#define GT_CS_MASTER_ERROR      BIT(3)
#define GT_FLUSH_NOTIFY         BIT(4)
#define GT_CONTEXT_SWITCH       BIT(8)
#define GT_WAIT_SEMAPHORE       BIT(11)

/*
 * Interrupt registers, graphics 9
 */
#define GEN8_MASTER_IRQ         0x44200
#define   MASTER_IRQ_ENABLE     BIT(31)
#define GEN8_GT_IMR(n)          (0x44304 + (n) * 0x10)
#define GEN8_GT_IIR(n)          (0x44308 + (n) * 0x10)
#define GEN8_GT_IER(n)          (0x4430c + (n) * 0x10)
#define   GEN8_GT_BANKS         4
#define GEN8_DE_MISC_IIR        0x44468
#define GEN8_PCU_IIR            0x444e8
#define GEN11_GU_MISC_IIR       0x444f8

/* Interrupt registers, graphics 11 and 12 */
#define GEN11_GFX_MSTR_IRQ      0x190010
#define GEN11_GT_INTR_DW(n)     (0x190018 + (n) * 4)
#define GEN11_RENDER_COPY_INTR_ENABLE 0x190030
#define GEN11_VCS_VECS_INTR_ENABLE 0x190034
#define GEN11_INTR_IDENTITY(n)  (0x190060 + (n) * 4)
#define   INTR_DATA_VALID       BIT(31)
#define   INTR_INSTANCE(n)      ((n) << 20)
#define   INTR_CLASS(n)         ((n) << 16)
#define   INTR_CLASS_OTHER      4
#define GEN11_IIR_SELECTOR(n)   (0x190070 + (n) * 4)
#define GEN11_RCS0_INTR_MASK    0x190090
#define GEN11_BCS_INTR_MASK     0x1900a0
#define GEN11_VCS_INTR_MASK(n)  (0x1900a8 + (n) / 2 * 4)
#define GEN11_VECS_INTR_MASK    0x1900d0

/*
 * The rest of the GT
 */
#define GEN8_RING_FAULT         0x4094
#define GEN12_RING_FAULT        0xcec4
#define   FAULT_VALID           BIT(0)
#define   FAULT_TYPE(t)         ((t) << 1)
#define     FAULT_INVALID_PTE   0
#define     FAULT_READ_ONLY     1
#define   FAULT_ENGINE(id)      ((id) << 12)
#define GEN8_FAULT_TLB_DATA0    0x4b10
#define GEN12_FAULT_TLB_DATA0   0xceb8
#define   FAULT_GTT_SEL         BIT(4)      /* in the second register */
#define GDRST                   0x941c
#define   GRDOM_FULL            BIT(0)
#define RC6_CTX_INFO            0x8504
#define GEN8_FUSE2              0x9120
#define GEN11_GT_SLICE_ENABLE   0x9138
#define GEN11_GT_SUBSLICE       0x913c      /* disable; gen 12: DSS enable */
#define GEN11_GT_VEBOX_VDBOX_DISABLE 0x9140
#define RPNSWREQ                0xa008
#define RPSTAT1                 0xa01c
#define GEN12_RPSTAT1           0x1381b4
#define RC_CONTROL              0xa090
#define RC_STATE                0xa094
#define FORCEWAKE_RENDER        0xa278
#define FORCEWAKE_GT            0xa188
#define FORCEWAKE_MEDIA         0xa270
#define GUC_STATUS              0xc000
#define   GUC_IN_RESET          BIT(0)
#define SKL_FUSE_STATUS         0x42000
#define   FUSE_PG_DISTRIBUTED   0x0fc00000  /* to power gates 0 to 5 */
#define PWR_WELL_CTL            0x45400
#define PWR_WELL_CTL_DDI4       0x4545c
#define   PWR_WELL_REQUESTS     0xaaaaaaaa
#define SKL_DFSM                0x51000
#define   DFSM_PIPES_DISABLE    (BIT(30) | BIT(21) | BIT(28) | BIT(22))
#define FENCE_LO(n)             (0x100000 + (n) * 8)
#define   FENCES                32
#define   FENCE_VALID           BIT(0)
#define   FENCE_TILING_Y        BIT(1)
#define   FENCE_PAGE            0xfffff000u
#define FENCE_HI(n)             (0x100004 + (n) * 8)
#define GFX_FLSH_CNTL           0x101008
#define PCODE_MAILBOX           0x138124
#define   PCODE_COMMAND         0xff
#define     PCODE_WRITE_MIN_FREQ_TABLE 0x8
#define     PCODE_READ_MIN_FREQ_TABLE 0x9
#define PCODE_DATA              0x138128
#define GT_RC6_RESIDENCY        0x138108    /* in units of 1.28 us */
#define RP_STATE_CAP            0x145998

/*
 * Commands: what bits 31:29 of the first dword name, and the opcodes of the memory
 * interface, in bits 28:23
 */
#define CMD_CLIENT(dw)          extract32(dw, 29, 3)
#define   CLIENT_MI             0
#define   CLIENT_BLT            2
#define   CLIENT_RENDER         3
#define MI_OPCODE(dw)           extract32(dw, 23, 6)

#define MI_NOOP                 0x00
#define MI_SET_PREDICATE        0x01
#define   SET_PREDICATE_MODE    0x0f
#define     PREDICATE_OFF       0
#define     PREDICATE_ON_CLEAR  1           /* skip if MI_PREDICATE_RESULT_2 is 0 */
#define     PREDICATE_ON_SET    2
#define     PREDICATE_ALWAYS    15
#define MI_USER_INTERRUPT       0x02
#define MI_WAIT_FOR_EVENT       0x03
#define MI_FLUSH                0x04
#define MI_ARB_CHECK            0x05
#define MI_REPORT_HEAD          0x07
#define MI_ARB_ON_OFF           0x08
#define   MI_ARB_ENABLE         BIT(0)
#define MI_BATCH_BUFFER_END     0x0a
#define MI_SUSPEND_FLUSH        0x0b
#define MI_PREDICATE            0x0c
#define MI_TOPOLOGY_FILTER      0x0d
#define MI_SET_APPID            0x0e
#define MI_RS_CONTEXT           0x0f
#define MI_MATH                 0x1a
#define MI_SEMAPHORE_SIGNAL     0x1b
#define MI_SEMAPHORE_WAIT       0x1c
#define   SEMAPHORE_REGISTER    BIT(16)
#define   SEMAPHORE_OP(dw)      extract32(dw, 12, 3)
#define MI_FORCE_WAKEUP         0x1d
#define MI_STORE_DATA_IMM       0x20
#define MI_STORE_DATA_INDEX     0x21
#define   STORE_INDEX_PER_PROCESS BIT(21)
#define MI_LOAD_REGISTER_IMM    0x22
#define   MI_LRI_CS_MMIO        BIT(19)     /* the address is relative to the engine */
#define   MI_LRI_FORCE_POSTED   BIT(12)
#define MI_UPDATE_GTT           0x23
#define MI_STORE_REGISTER_MEM   0x24
#define MI_FLUSH_DW             0x26
#define   FLUSH_DW_STORE_INDEX  BIT(21)
#define   FLUSH_DW_INVALIDATE_TLB BIT(18)
#define   FLUSH_DW_NOTIFY       BIT(8)
#define   FLUSH_DW_GGTT         BIT(2)      /* in the address */
#define MI_REPORT_PERF_COUNT    0x28
#define MI_LOAD_REGISTER_MEM    0x29
#define MI_LOAD_REGISTER_REG    0x2a
#define   LRR_SOURCE_CS_MMIO    BIT(18)
#define MI_COPY_MEM_MEM         0x2e
#define   COPY_SOURCE_GGTT      BIT(21)
#define MI_ATOMIC               0x2f
#define   ATOMIC_OP(dw)         extract32(dw, 8, 8)
#define   ATOMIC_INLINE_DATA    BIT(18)
#define MI_BATCH_BUFFER_START   0x31
#define   BB_START_PREDICATED   BIT(15)
#define   BB_START_PPGTT        BIT(8)
#define   BB_START_SECOND_LEVEL BIT(22)
#define MI_COND_BATCH_BUFFER_END 0x36
#define   COND_BBE_COMPARE      BIT(21)
#define MI_GGTT                 BIT(22)     /* of most commands that address memory */

#define POST_SYNC_OP(dw)        extract32(dw, 14, 2)
#define   POST_SYNC_IMMEDIATE   1
#define   POST_SYNC_TIMESTAMP   3

#define PIPE_CONTROL            0x7a00      /* bits 31:16 */
#define   PIPE_CONTROL_GGTT     BIT(24)
#define   PIPE_CONTROL_INDEX    BIT(21)
#define   PIPE_CONTROL_TLB      BIT(18)
#define   PIPE_CONTROL_NOTIFY   BIT(8)

#define BLT_OPCODE(dw)          extract32(dw, 22, 7)
#define   XY_FAST_COPY_BLT      0x42
#define   XY_COLOR_BLT          0x50
#define   XY_SRC_COPY_BLT       0x53
#define   XY_SRC_TILED          BIT(15)
#define   XY_DST_TILED          BIT(11)
#define   FAST_COPY_SRC_TILING(dw) extract32(dw, 20, 2)
#define   FAST_COPY_DST_TILING(dw) extract32(dw, 13, 2)

#endif
