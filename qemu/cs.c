/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The command streamer: fetches commands from the ring of the loaded context and from
 * batches, and executes those of the memory interface and of the blitter. Rendering
 * commands are skipped.
 *
 * It runs in slices, between which the rest of the machine has its turn.
 */
#include "intel_gpu.h"
#include "trace.h"

#define MAX_COMMAND         0x402           /* dwords: the longest MI_STORE_DATA_IMM */
#define MIN_DWORDS          16              /* what a handler may look at, 0 if not there */
#define SLICE_DWORDS        16384
#define SLICE_DELAY_NS      20000
#define POLL_DELAY_NS       5000            /* a semaphore, or the head of a loop */
#define LOOP_BYTES          65536           /* a jump back by less is a loop */
#define WORKAROUND_COMMANDS 1024

typedef enum CSResult {
    CS_NEXT,
    CS_JUMP,                                /* to Command.target */
    CS_RETURN,                              /* from a batch */
    CS_ARBITRATE,                           /* then the next */
    CS_WAIT,                                /* try this one again, others may go first */
    CS_AGAIN,                               /* there is more of this one to do */
    CS_HANG,
} CSResult;

typedef struct Command {
    uint32_t dw[MAX_COMMAND + MIN_DWORDS];
    unsigned len;
    bool ggtt;                              /* where it was fetched from */
    bool privileged;
    uint64_t ip, target;
} Command;

typedef CSResult (*CommandHandler)(IntelGPUEngine *e, Command *cmd);

/* Up to graphics 9 the address of a register is absolute. */
uint32_t engine_relative(IntelGPUEngine *e, bool relative, uint32_t addr)
{
    addr &= 0x7ffffc;
    if (relative && e->gpu->gen->version >= 11) {
        addr = e->info->base + (addr & (addr >= 0x1c0000 ? 0x3fff : 0xfff));
    }
    return addr;
}

/* Registers that a batch may write without the driver's leave, of all generations */
static bool always_user_writable(IntelGPUEngine *e, uint32_t addr)
{
    static const struct {
        uint32_t first, last;
        unsigned min_version, max_version;
    } render[] = {
        { 0x20c0, 0x20c0, 9, 12 }, { 0x2158, 0x2158, 9, 12 }, { 0x2290, 0x2294, 9, 12 },
        { 0x22c8, 0x22fc, 9, 12 }, { 0x2300, 0x2344, 9, 12 }, { 0x2360, 0x2364, 9, 12 },
        { 0x2400, 0x2454, 9, 12 }, { 0x2500, 0x2508, 9, 12 }, { 0x2580, 0x2580, 11, 12 },
        { 0x5200, 0x528c, 9, 12 }, { 0x7000, 0x7008, 9, 12 }, { 0x7034, 0x7034, 9, 11 },
        { 0xe400, 0xe404, 9, 11 },
    };
    uint32_t offset = addr - e->info->base;
    unsigned version = e->gpu->gen->version;

    if ((offset >= CS_GPR && offset < CS_GPR + CS_GPR_COUNT * 8) ||
        (offset >= MI_PREDICATE_SRC0 && offset <= MI_PREDICATE_RESULT_1) ||
        offset == RING_TIMESTAMP) {
        return true;
    }
    if (e->info->class == CLASS_COPY && offset == BCS_SWCTRL) {
        return true;
    }
    for (int i = 0; e->info->class == CLASS_RENDER && i < ARRAY_SIZE(render); i++) {
        if (addr >= render[i].first && addr <= render[i].last &&
            version >= render[i].min_version && version <= render[i].max_version) {
            return true;
        }
    }
    return false;
}

bool intel_gpu_user_writable(IntelGPUEngine *e, uint32_t addr)
{
    bool listed = false;

    for (int i = 0; i < NONPRIV_SLOTS; i++) {
        uint32_t slot = *engine_reg(e, RING_NONPRIV(i)), first = slot & NONPRIV_ADDRESS;

        if (!first || addr < first || addr >= first + NONPRIV_RANGE(slot)) {
            continue;
        }
        if (NONPRIV_ACCESS(slot) == NONPRIV_ACCESS_RD) {
            return false;
        }
        listed |= !(slot & NONPRIV_DENY);
    }
    return listed || always_user_writable(e, addr);
}

static void load_register(IntelGPUEngine *e, const Command *cmd, uint32_t addr, uint32_t value)
{
    if (cmd->privileged || intel_gpu_user_writable(e, addr)) {
        intel_gpu_write(e->gpu, addr, value);
    }
}

static uint64_t address(const Command *cmd, unsigned i)
{
    return ((uint64_t)cmd->dw[i + 1] << 32 | cmd->dw[i]) & ~3ull;
}

/* A batch of a client has no way to the global GTT. */
static bool use_ggtt(const Command *cmd, bool wanted)
{
    return wanted && cmd->privileged;
}

static CSResult hang(IntelGPUEngine *e, const Command *cmd)
{
    trace_intel_gpu_hang(e->info->name, e->level, cmd->ip, cmd->dw[0]);
    e->hung = true;
    *engine_reg(e, RING_EIR) |= EIR_INSTRUCTION_ERROR;
    if (!(*engine_reg(e, RING_EMR) & EIR_INSTRUCTION_ERROR)) {
        engine_raise_irq(e, GT_CS_MASTER_ERROR);
    }
    return CS_HANG;
}

static CSResult do_nothing(IntelGPUEngine *e, Command *cmd)
{
    return CS_NEXT;
}

static CSResult unimplemented(IntelGPUEngine *e, Command *cmd)
{
    qemu_log_mask(LOG_UNIMP, "intel-gpu: %s: command 0x%08x\n", e->info->name, cmd->dw[0]);
    return CS_NEXT;
}

static CSResult set_predicate(IntelGPUEngine *e, Command *cmd)
{
    e->predicate = cmd->dw[0] & SET_PREDICATE_MODE;
    return CS_NEXT;
}

/* Whether MI_SET_PREDICATE has this command skipped */
static bool predicated_off(IntelGPUEngine *e, const Command *cmd)
{
    bool result = *engine_reg(e, MI_PREDICATE_RESULT_2) & 1;

    if (CMD_CLIENT(cmd->dw[0]) == CLIENT_MI &&
        (MI_OPCODE(cmd->dw[0]) == MI_SET_PREDICATE || MI_OPCODE(cmd->dw[0]) == MI_BATCH_BUFFER_END)) {
        return false;
    }
    switch (e->predicate) {
    case PREDICATE_ON_CLEAR:
        return !result;
    case PREDICATE_ON_SET:
        return result;
    default:
        return e->predicate == PREDICATE_ALWAYS;
    }
}

static CSResult predicate(IntelGPUEngine *e, Command *cmd)
{
    enum { KEEP, LOAD = 2, LOADINV };
    enum { SET, AND, OR, XOR };
    uint64_t src0 = engine_reg64(e, MI_PREDICATE_SRC0, MI_PREDICATE_SRC0 + 4);
    uint64_t src1 = engine_reg64(e, MI_PREDICATE_SRC1, MI_PREDICATE_SRC1 + 4);
    uint32_t *result = engine_reg(e, MI_PREDICATE_RESULT);
    bool values[] = { true, false, src0 == src1, src0 - src1 == 0 };
    bool value = values[extract32(cmd->dw[0], 0, 2)];
    unsigned load = extract32(cmd->dw[0], 6, 2);

    if (load < LOAD) {
        return CS_NEXT;
    }
    value ^= load == LOADINV;
    switch (extract32(cmd->dw[0], 3, 2)) {
    case SET:
        *result = value;
        break;
    case AND:
        *result &= value;
        break;
    case OR:
        *result |= value;
        break;
    case XOR:
        *result ^= value;
        break;
    }
    return CS_NEXT;
}

static CSResult user_interrupt(IntelGPUEngine *e, Command *cmd)
{
    engine_raise_irq(e, GT_USER_INTERRUPT);
    return CS_NEXT;
}

static CSResult arb_check(IntelGPUEngine *e, Command *cmd)
{
    return CS_ARBITRATE;
}

static CSResult arb_on_off(IntelGPUEngine *e, Command *cmd)
{
    e->arbitration_off = !(cmd->dw[0] & MI_ARB_ENABLE);
    return e->arbitration_off ? CS_NEXT : CS_ARBITRATE;
}

static CSResult batch_buffer_end(IntelGPUEngine *e, Command *cmd)
{
    return CS_RETURN;
}

typedef struct ALU {
    uint64_t srca, srcb, accumulator;
    bool zero, carry;
} ALU;

static uint64_t gpr_read(IntelGPUEngine *e, unsigned n)
{
    uint32_t offset = CS_GPR + n % CS_GPR_COUNT * 8;

    return engine_reg64(e, offset, offset + 4);
}

static void gpr_write(IntelGPUEngine *e, unsigned n, uint64_t value)
{
    uint32_t offset = CS_GPR + n % CS_GPR_COUNT * 8;

    *engine_reg(e, offset) = value;
    *engine_reg(e, offset + 4) = value >> 32;
}

static uint64_t alu_result(const ALU *alu, unsigned operand)
{
    switch (operand) {
    case 0x31:
        return alu->accumulator;
    case 0x32:
        return alu->zero ? UINT64_MAX : 0;
    case 0x33:
        return alu->carry ? UINT64_MAX : 0;
    default:
        return 0;
    }
}

static void alu_instruction(IntelGPUEngine *e, ALU *alu, uint32_t dw)
{
    enum { SRCA = 0x20 };
    enum {
        LOAD = 0x080, LOAD0, LOADINV = 0x480, LOAD1,
        ADD = 0x100, SUB, AND, OR, XOR, STORE = 0x180, STOREINV = 0x580,
    };
    unsigned op = extract32(dw, 20, 12), operand1 = extract32(dw, 10, 10);
    unsigned operand2 = extract32(dw, 0, 10);
    uint64_t *source = operand1 == SRCA ? &alu->srca : &alu->srcb;

    switch (op) {
    case 0:
        return;
    case LOAD:
    case LOADINV:
        *source = gpr_read(e, operand2) ^ (op == LOADINV ? UINT64_MAX : 0);
        return;
    case LOAD0:
    case LOAD1:
        *source = op == LOAD1 ? UINT64_MAX : 0;
        return;
    case ADD:
        alu->accumulator = alu->srca + alu->srcb;
        alu->carry = alu->accumulator < alu->srca;
        break;
    case SUB:
        alu->accumulator = alu->srca - alu->srcb;
        alu->carry = alu->srca < alu->srcb;
        break;
    case AND:
        alu->accumulator = alu->srca & alu->srcb;
        break;
    case OR:
        alu->accumulator = alu->srca | alu->srcb;
        break;
    case XOR:
        alu->accumulator = alu->srca ^ alu->srcb;
        break;
    case STORE:
    case STOREINV:
        gpr_write(e, operand1, alu_result(alu, operand2) ^ (op == STOREINV ? UINT64_MAX : 0));
        return;
    default:
        qemu_log_mask(LOG_UNIMP, "intel-gpu: %s: MI_MATH 0x%08x\n", e->info->name, dw);
        return;
    }
    alu->zero = alu->accumulator == 0;
}

static CSResult math(IntelGPUEngine *e, Command *cmd)
{
    ALU alu = {};

    for (int i = 1; i < cmd->len; i++) {
        alu_instruction(e, &alu, cmd->dw[i]);
    }
    return CS_NEXT;
}

static bool semaphore_passes(uint32_t header, uint32_t memory, uint32_t value)
{
    switch (SEMAPHORE_OP(header)) {
    case 0:
        return memory > value;
    case 1:
        return memory >= value;
    case 2:
        return memory < value;
    case 3:
        return memory <= value;
    case 4:
        return memory == value;
    case 5:
        return memory != value;
    default:
        return true;
    }
}

static CSResult semaphore_wait(IntelGPUEngine *e, Command *cmd)
{
    uint32_t header = cmd->dw[0], value;

    if (header & SEMAPHORE_REGISTER) {
        value = intel_gpu_read(e->gpu, cmd->dw[2] & 0x7ffffc);
    } else {
        value = engine_read32(e, use_ggtt(cmd, header & MI_GGTT), address(cmd, 2));
    }
    if (semaphore_passes(header, value, cmd->dw[1])) {
        e->waiting = false;
        return CS_NEXT;
    }
    if (!e->waiting) {
        e->waiting = true;
        engine_raise_irq(e, GT_WAIT_SEMAPHORE);
    }
    return CS_WAIT;
}

static CSResult store_data_imm(IntelGPUEngine *e, Command *cmd)
{
    bool ggtt = use_ggtt(cmd, cmd->dw[0] & MI_GGTT);

    for (int i = 3; i < cmd->len; i++) {
        engine_write32(e, ggtt, address(cmd, 1) + (i - 3) * 4, cmd->dw[i]);
    }
    return CS_NEXT;
}

/* The status page of the context, or of the engine */
static uint64_t status_page(IntelGPUEngine *e, bool per_process)
{
    return per_process ? context_page(e->desc) : *engine_reg(e, RING_HWS_PGA) & GPU_PAGE_MASK;
}

static CSResult store_data_index(IntelGPUEngine *e, Command *cmd)
{
    uint64_t va = status_page(e, cmd->dw[0] & STORE_INDEX_PER_PROCESS) + (cmd->dw[1] & 0xffc);

    for (int i = 2; cmd->privileged && i < cmd->len; i++) {
        engine_write32(e, true, va + (i - 2) * 4, cmd->dw[i]);
    }
    return CS_NEXT;
}

static CSResult load_register_imm(IntelGPUEngine *e, Command *cmd)
{
    for (int i = 1; i + 1 < cmd->len; i += 2) {
        load_register(e, cmd, engine_relative(e, cmd->dw[0] & MI_LRI_CS_MMIO, cmd->dw[i]),
                      cmd->dw[i + 1]);
    }
    return CS_NEXT;
}

static CSResult load_register_mem(IntelGPUEngine *e, Command *cmd)
{
    load_register(e, cmd, engine_relative(e, cmd->dw[0] & MI_LRI_CS_MMIO, cmd->dw[1]),
                  engine_read32(e, use_ggtt(cmd, cmd->dw[0] & MI_GGTT), address(cmd, 2)));
    return CS_NEXT;
}

static CSResult load_register_reg(IntelGPUEngine *e, Command *cmd)
{
    uint32_t from = engine_relative(e, cmd->dw[0] & LRR_SOURCE_CS_MMIO, cmd->dw[1]);
    uint32_t to = engine_relative(e, cmd->dw[0] & MI_LRI_CS_MMIO, cmd->dw[2]);

    load_register(e, cmd, to, intel_gpu_read(e->gpu, from));
    return CS_NEXT;
}

static CSResult store_register_mem(IntelGPUEngine *e, Command *cmd)
{
    uint32_t addr = engine_relative(e, cmd->dw[0] & MI_LRI_CS_MMIO, cmd->dw[1]);

    engine_write32(e, use_ggtt(cmd, cmd->dw[0] & MI_GGTT), address(cmd, 2),
                   intel_gpu_read(e->gpu, addr));
    return CS_NEXT;
}

/* What a flush writes when it is done */
static void post_sync(IntelGPUEngine *e, unsigned op, bool ggtt, uint64_t va, uint64_t value,
                      bool qword)
{
    if (op == POST_SYNC_TIMESTAMP) {
        value = intel_gpu_timestamp();
        qword = true;
    } else if (op != POST_SYNC_IMMEDIATE) {
        return;
    }
    if (qword) {
        engine_write64(e, ggtt, va, value);
    } else {
        engine_write32(e, ggtt, va, value);
    }
}

static CSResult flush_dw(IntelGPUEngine *e, Command *cmd)
{
    uint32_t header = cmd->dw[0];
    bool ggtt = use_ggtt(cmd, cmd->dw[1] & FLUSH_DW_GGTT);
    uint64_t va = address(cmd, 1) & ~7ull, value = (uint64_t)cmd->dw[4] << 32 | cmd->dw[3];

    if (header & FLUSH_DW_INVALIDATE_TLB) {
        engine_flush_tlb(e);
    }
    if (!(header & FLUSH_DW_STORE_INDEX)) {
        post_sync(e, POST_SYNC_OP(header), ggtt, va, value, cmd->len > 4);
    } else if (cmd->privileged) {
        post_sync(e, POST_SYNC_OP(header), true, status_page(e, !ggtt) + (va & 0xff8), value,
                  cmd->len > 4);
    }
    if (header & FLUSH_DW_NOTIFY) {
        engine_raise_irq(e, GT_FLUSH_NOTIFY);
    }
    return CS_NEXT;
}

static CSResult pipe_control(IntelGPUEngine *e, Command *cmd)
{
    uint32_t flags = cmd->dw[1];
    bool ggtt = use_ggtt(cmd, flags & PIPE_CONTROL_GGTT);
    uint64_t value = (uint64_t)cmd->dw[5] << 32 | cmd->dw[4];

    if (flags & PIPE_CONTROL_TLB) {
        engine_flush_tlb(e);
    }
    if (!(flags & PIPE_CONTROL_INDEX)) {
        post_sync(e, POST_SYNC_OP(flags), ggtt, address(cmd, 2), value, true);
    } else if (cmd->privileged) {
        post_sync(e, POST_SYNC_OP(flags), true, status_page(e, !ggtt) + (cmd->dw[2] & 0xffc),
                  value, true);
    }
    if (flags & PIPE_CONTROL_NOTIFY) {
        engine_raise_irq(e, GT_FLUSH_NOTIFY);
    }
    return CS_NEXT;
}

static CSResult copy_mem_mem(IntelGPUEngine *e, Command *cmd)
{
    uint32_t value = engine_read32(e, use_ggtt(cmd, cmd->dw[0] & COPY_SOURCE_GGTT),
                                   address(cmd, 3));

    engine_write32(e, use_ggtt(cmd, cmd->dw[0] & MI_GGTT), address(cmd, 1), value);
    return CS_NEXT;
}

static bool atomic_result(unsigned op, uint64_t old, uint64_t operand1, uint64_t operand2,
                          uint64_t *result)
{
    enum { AND = 1, OR, XOR, MOVE, INC, DEC, ADD, SUB, CMPWR = 0xe };
    const uint64_t results[] = {
        [AND] = old & operand1,
        [OR] = old | operand1,
        [XOR] = old ^ operand1,
        [MOVE] = operand1,
        [INC] = old + 1,
        [DEC] = old - 1,
        [ADD] = old + operand1,
        [SUB] = old - operand1,
        [CMPWR] = old == operand1 ? operand2 : old,
    };

    if (op == 0 || (op > SUB && op != CMPWR)) {
        return false;
    }
    *result = results[op];
    return true;
}

static CSResult atomic(IntelGPUEngine *e, Command *cmd)
{
    bool ggtt = use_ggtt(cmd, cmd->dw[0] & MI_GGTT), data = cmd->dw[0] & ATOMIC_INLINE_DATA;
    unsigned op = ATOMIC_OP(cmd->dw[0]), size = op & 0x20 ? 8 : 4;
    uint64_t operand1 = data ? (uint64_t)cmd->dw[5] << 32 | cmd->dw[3] : gpr_read(e, 0);
    uint64_t operand2 = data ? (uint64_t)cmd->dw[6] << 32 | cmd->dw[4] : gpr_read(e, 1);
    uint64_t old = 0, result;

    if (size == 4) {
        operand1 = (uint32_t)operand1;
    }
    engine_access(e, ggtt, address(cmd, 1), &old, size, false);
    if (!atomic_result(op & 0x1f, le64_to_cpu(old), operand1, operand2, &result)) {
        return unimplemented(e, cmd);
    }
    result = cpu_to_le64(result);
    engine_access(e, ggtt, address(cmd, 1), &result, size, true);
    return CS_NEXT;
}

static CSResult batch_buffer_start(IntelGPUEngine *e, Command *cmd)
{
    uint32_t header = cmd->dw[0];
    unsigned level = e->level;

    if ((header & BB_START_PREDICATED) && !(*engine_reg(e, MI_PREDICATE_RESULT_1) & 1)) {
        return CS_NEXT;
    }
    if (level == 0) {
        level = 1;
    } else if (header & BB_START_SECOND_LEVEL) {
        level = 2;
    }
    cmd->target = address(cmd, 1);
    e->batch_ggtt[level] = use_ggtt(cmd, !(header & BB_START_PPGTT));
    e->level = level;
    return CS_JUMP;
}

static CSResult conditional_batch_buffer_end(IntelGPUEngine *e, Command *cmd)
{
    if (!(cmd->dw[0] & COND_BBE_COMPARE)) {
        return unimplemented(e, cmd);
    }
    engine_flush_tlb(e);
    if (engine_read32(e, use_ggtt(cmd, cmd->dw[0] & MI_GGTT), address(cmd, 2)) <= cmd->dw[1]) {
        return CS_RETURN;
    }
    return CS_NEXT;
}

static const CommandHandler mi_handlers[64] = {
    [MI_NOOP] = do_nothing,
    [MI_SET_PREDICATE] = set_predicate,
    [MI_USER_INTERRUPT] = user_interrupt,
    [MI_WAIT_FOR_EVENT] = do_nothing,       /* there is no display to wait for */
    [MI_FLUSH] = do_nothing,
    [MI_ARB_CHECK] = arb_check,
    [MI_REPORT_HEAD] = do_nothing,
    [MI_ARB_ON_OFF] = arb_on_off,
    [MI_BATCH_BUFFER_END] = batch_buffer_end,
    [MI_SUSPEND_FLUSH] = do_nothing,
    [MI_PREDICATE] = predicate,
    [MI_TOPOLOGY_FILTER] = do_nothing,
    [MI_SET_APPID] = do_nothing,
    [MI_RS_CONTEXT] = do_nothing,
    [MI_MATH] = math,
    [MI_SEMAPHORE_SIGNAL] = do_nothing,     /* who waits polls */
    [MI_SEMAPHORE_WAIT] = semaphore_wait,
    [MI_FORCE_WAKEUP] = do_nothing,
    [MI_STORE_DATA_IMM] = store_data_imm,
    [MI_STORE_DATA_INDEX] = store_data_index,
    [MI_LOAD_REGISTER_IMM] = load_register_imm,
    [MI_UPDATE_GTT] = unimplemented,
    [MI_STORE_REGISTER_MEM] = store_register_mem,
    [MI_FLUSH_DW] = flush_dw,
    [MI_REPORT_PERF_COUNT] = unimplemented,
    [MI_LOAD_REGISTER_MEM] = load_register_mem,
    [MI_LOAD_REGISTER_REG] = load_register_reg,
    [MI_COPY_MEM_MEM] = copy_mem_mem,
    [MI_ATOMIC] = atomic,
    [MI_BATCH_BUFFER_START] = batch_buffer_start,
    [MI_COND_BATCH_BUFFER_END] = conditional_batch_buffer_end,
};

static CSResult execute(IntelGPUEngine *e, Command *cmd)
{
    uint32_t header = cmd->dw[0];
    CommandHandler handler;

    *engine_reg(e, RING_IPEHR) = header;
    trace_intel_gpu_command(e->info->name, e->level, cmd->ip, header);
    if (predicated_off(e, cmd)) {
        return CS_NEXT;
    }
    switch (CMD_CLIENT(header)) {
    case CLIENT_MI:
        handler = mi_handlers[MI_OPCODE(header)];
        return handler ? handler(e, cmd) : hang(e, cmd);
    case CLIENT_BLT:
        return engine_blit(e, cmd->dw) ? CS_NEXT : CS_AGAIN;
    case CLIENT_RENDER:
        return header >> 16 == PIPE_CONTROL ? pipe_control(e, cmd) : CS_NEXT;
    default:
        return hang(e, cmd);
    }
}

/* In dwords, or 0 if there is no such command */
static unsigned command_length(uint32_t header)
{
    switch (CMD_CLIENT(header)) {
    case CLIENT_MI:
        if (MI_OPCODE(header) < 0x10) {
            return 1;
        }
        if (MI_OPCODE(header) == MI_STORE_DATA_IMM) {
            return extract32(header, 0, 10) + 2;
        }
        return extract32(header, 0, MI_OPCODE(header) == MI_FLUSH_DW ? 6 : 8) + 2;
    case CLIENT_RENDER:
        if (extract32(header, 27, 2) == 1) {
            return 1;
        }
        /* fall through */
    case CLIENT_BLT:
        return extract32(header, 0, 8) + 2;
    default:
        return 0;
    }
}

static uint32_t ring_size(IntelGPUEngine *e)
{
    return (*engine_reg(e, RING_CTL) & RING_NR_PAGES) + GPU_PAGE_SIZE;
}

/* len dwords from the i-th on of the command at cmd->ip */
static bool fetch_dwords(IntelGPUEngine *e, Command *cmd, unsigned i, unsigned len)
{
    uint32_t head = *engine_reg(e, RING_HEAD) & HEAD_ADDR, size = ring_size(e);

    if (e->level) {
        return engine_access(e, cmd->ggtt, cmd->ip + i * 4, &cmd->dw[i], len * 4, false);
    }
    for (; len; i++, len--) {
        uint32_t at = (head + i * 4) % size;

        if (!engine_access(e, true, *engine_reg(e, RING_START) + at, &cmd->dw[i], 4, false)) {
            return false;
        }
    }
    return true;
}

/*
 * Makes the MI_NOOP at cmd->ip, and those that follow in this page, one command. Most of
 * a batch that is there to take time are MI_NOOPs.
 */
static void fetch_noops(IntelGPUEngine *e, Command *cmd)
{
    unsigned max = (GPU_PAGE_SIZE - (cmd->ip & ~GPU_PAGE_MASK)) / 4;

    if (fetch_dwords(e, cmd, 0, max)) {
        while (cmd->len < max && !cmd->dw[cmd->len]) {
            cmd->len++;
        }
    }
}

static bool fetch(IntelGPUEngine *e, Command *cmd)
{
    cmd->ggtt = e->level == 0 || e->batch_ggtt[e->level];
    cmd->privileged = cmd->ggtt;
    cmd->ip = e->level ? e->batch[e->level] :
                         *engine_reg(e, RING_START) + (*engine_reg(e, RING_HEAD) & HEAD_ADDR);
    engine_save_batch(e);
    *engine_reg(e, RING_ACTHD) = cmd->ip;
    *engine_reg(e, RING_ACTHD_UDW) = cmd->ip >> 32;

    if (!fetch_dwords(e, cmd, 0, 1)) {
        e->hung = true;
        return false;
    }
    cmd->len = command_length(le32_to_cpu(cmd->dw[0]));
    if (!cmd->len) {
        hang(e, cmd);
        return false;
    }
    if (cmd->len > 1 && !fetch_dwords(e, cmd, 1, cmd->len - 1)) {
        e->hung = true;
        return false;
    }
    if (e->level && !cmd->dw[0]) {
        fetch_noops(e, cmd);
    }
    for (int i = 0; i < cmd->len; i++) {
        cmd->dw[i] = le32_to_cpu(cmd->dw[i]);
    }
    for (int i = cmd->len; i < MIN_DWORDS; i++) {
        cmd->dw[i] = 0;
    }
    return true;
}

static void advance(IntelGPUEngine *e, unsigned level, unsigned len)
{
    uint32_t *head = engine_reg(e, RING_HEAD);

    if (level) {
        e->batch[level] += len * 4;
    } else {
        *head = ((*head & HEAD_ADDR) + len * 4) % ring_size(e);
    }
}

static bool may_arbitrate(IntelGPUEngine *e)
{
    return e->num_pending && !e->arbitration_off && e->level < MAX_BATCH_LEVEL;
}

/* Goes on after a command; returns the delay until the next one, 0 for none. */
static int64_t proceed(IntelGPUEngine *e, const Command *cmd, unsigned level, CSResult result)
{
    if (result == CS_WAIT) {
        if (may_arbitrate(e)) {
            engine_take_pending(e);
            return 0;
        }
        return POLL_DELAY_NS;
    }
    if (result == CS_AGAIN) {
        return SLICE_DELAY_NS;
    }

    advance(e, level, cmd->len);
    if (result == CS_JUMP) {
        bool loop = level && level == e->level && cmd->target <= cmd->ip &&
                    cmd->ip - cmd->target < LOOP_BYTES;

        e->batch[e->level] = cmd->target;
        engine_flush_tlb(e);
        return loop ? POLL_DELAY_NS : 0;
    }
    if (result == CS_RETURN && e->level) {
        e->level--;
    } else if (result == CS_ARBITRATE && may_arbitrate(e)) {
        engine_take_pending(e);
    }
    return 0;
}

static bool ring_empty(IntelGPUEngine *e)
{
    return (*engine_reg(e, RING_HEAD) & HEAD_ADDR) == (*engine_reg(e, RING_TAIL) & TAIL_ADDR);
}

/* Returns the delay until the next slice, or -1 if there is nothing to do. */
static int64_t run_slice(IntelGPUEngine *e)
{
    int budget = SLICE_DWORDS;
    Command cmd;

    engine_flush_tlb(e);
    while (budget > 0) {
        unsigned level = e->level;
        CSResult result;
        int64_t delay;

        if (*engine_reg(e, RING_MI_MODE) & STOP_RING) {
            return -1;
        }
        if (engine_idle(e)) {
            if (!e->num_pending) {
                return -1;
            }
            engine_take_pending(e);
            budget--;
            continue;
        }
        if (e->hung) {
            return -1;
        }
        if (level == 0 && ring_empty(e)) {
            engine_context_complete(e);
            budget--;
            continue;
        }
        if (!fetch(e, &cmd)) {
            return -1;
        }
        result = execute(e, &cmd);
        if (result == CS_HANG) {
            return -1;
        }
        delay = proceed(e, &cmd, level, result);
        if (delay) {
            return delay;
        }
        budget -= cmd.len;
    }
    return SLICE_DELAY_NS;
}

void engine_run(void *opaque)
{
    IntelGPUEngine *e = opaque;
    int64_t *next_run = &e->gpu->next_run;
    int64_t start = qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL), delay;

    if (e->gpu->dead) {
        return;
    }
    if (start < *next_run) {
        timer_mod(e->timer, *next_run);
        return;
    }
    delay = run_slice(e);
    if (delay >= 0) {
        /*
         * This ran under the big lock. The CPUs need that to access registers, and
         * would not get it while one engine runs after the other, also if each of
         * them soon waits: leave it to them for as long.
         */
        *next_run = 2 * qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL) - start;
        engine_kick(e, delay);
    }
}

/* A batch of the driver that a context is loaded with: it neither jumps nor waits. */
void engine_run_privileged(IntelGPUEngine *e, uint32_t ggtt_va, unsigned dwords)
{
    Command cmd = { .ggtt = true, .privileged = true, .ip = ggtt_va };
    uint64_t end = cmd.ip + dwords * 4;

    for (int n = 0; cmd.ip < end && n < WORKAROUND_COMMANDS; n++) {
        CSResult result;

        memset(cmd.dw, 0, MIN_DWORDS * 4);
        cmd.dw[0] = engine_read32(e, true, cmd.ip);
        cmd.len = command_length(cmd.dw[0]);
        for (int i = 1; i < cmd.len; i++) {
            cmd.dw[i] = engine_read32(e, true, cmd.ip + i * 4);
        }
        result = cmd.len ? execute(e, &cmd) : hang(e, &cmd);
        if (result == CS_RETURN || result == CS_JUMP || result == CS_HANG) {
            return;
        }
        cmd.ip += cmd.len * 4;
    }
}
