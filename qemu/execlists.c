/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Execlists: the driver submits a list of contexts, the engine runs them one after the
 * other, and tells of each switch in a ring of events in the status page, the CSB.
 */
#include "intel_gpu.h"
#include "trace.h"

#define SUBMIT_DELAY_NS     1000

#define DESC_FORCE_RESTORE  BIT_ULL(2)
#define DESC_SW_CONTEXT_ID(d) extract64(d, 37, 11)
#define IDLE_CONTEXT_ID     0x7ff

#define CSB_FIRST_DWORD     0x10            /* of the status page */

/* Events, up to graphics 11 */
#define CSB_IDLE_TO_ACTIVE  BIT(0)
#define CSB_PREEMPTED       BIT(1)
#define CSB_ELEMENT_SWITCH  BIT(2)
#define CSB_ACTIVE_TO_IDLE  BIT(3)
#define CSB_COMPLETE        BIT(4)
#define CSB_LITE_RESTORE    BIT(15)

/* Events, from graphics 12 on */
#define GEN12_CSB_NEW_QUEUE BIT(0)
#define GEN12_CSB_CONTEXT_ID(id) ((uint32_t)(id) << 15)
#define GEN12_CSB_PREEMPTED 5               /* why the engine switched */

void engine_kick(IntelGPUEngine *e, int64_t delay_ns)
{
    timer_mod(e->timer, qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL) + delay_ns);
}

uint32_t engine_context_timestamp(IntelGPUEngine *e)
{
    if (!e->loaded) {
        return *engine_reg(e, RING_CTX_TIMESTAMP);
    }
    return e->timestamp_start + (uint32_t)(intel_gpu_timestamp() - e->timestamp_loaded);
}

static void csb_write(IntelGPUEngine *e, uint32_t lo, uint32_t hi)
{
    const IntelGPUGeneration *gen = e->gpu->gen;
    uint32_t page = *engine_reg(e, RING_HWS_PGA) & GPU_PAGE_MASK;

    e->csb_write = (e->csb_write + 1) % gen->csb_entries;
    trace_intel_gpu_csb(e->info->name, e->csb_write, lo, hi);
    engine_flush_tlb(e);
    /* The driver reads the entry when it has seen that the index has moved. */
    engine_write64(e, true, page + CSB_FIRST_DWORD * 4 + e->csb_write * 8,
                   (uint64_t)hi << 32 | lo);
    smp_wmb();
    engine_write32(e, true, page + gen->csb_write_index * 4, e->csb_write);
    engine_raise_irq(e, GT_CONTEXT_SWITCH);
}

static uint32_t gen12_context_id(uint64_t desc)
{
    return GEN12_CSB_CONTEXT_ID(desc ? DESC_SW_CONTEXT_ID(desc) : IDLE_CONTEXT_ID);
}

/* The engine leaves one context for another; 0 is none. */
static void switch_event(IntelGPUEngine *e, uint64_t from, uint64_t to, bool submitted, bool lite)
{
    uint32_t event;

    if (e->gpu->gen->version >= 12) {
        csb_write(e, gen12_context_id(to) | (submitted ? GEN12_CSB_NEW_QUEUE : 0),
                  gen12_context_id(from) | (from && submitted ? GEN12_CSB_PREEMPTED : 0));
        return;
    }
    if (!from) {
        event = CSB_IDLE_TO_ACTIVE;
    } else if (submitted) {
        event = CSB_PREEMPTED | (lite ? CSB_LITE_RESTORE : 0);
    } else {
        event = CSB_COMPLETE | (to ? CSB_ELEMENT_SWITCH : CSB_ACTIVE_TO_IDLE);
    }
    csb_write(e, event, (from ? from : to) >> 32);
}

static void submit(IntelGPUEngine *e, const uint64_t *desc, unsigned max)
{
    unsigned n = 0;

    while (n < max && desc[n]) {
        e->pending[n] = desc[n];
        n++;
    }
    e->num_pending = n;
    trace_intel_gpu_submit(e->info->name, n, desc[0], desc[1]);
    engine_kick(e, SUBMIT_DELAY_NS);
}

/* Graphics 9: four writes, the second context first, the upper halves first. */
void engine_submit_elsp(IntelGPUEngine *e, uint32_t value)
{
    uint64_t desc[2];

    e->elsp[e->elsp_count++] = value;
    if (e->elsp_count == ARRAY_SIZE(e->elsp)) {
        e->elsp_count = 0;
        desc[0] = (uint64_t)e->elsp[2] << 32 | e->elsp[3];
        desc[1] = (uint64_t)e->elsp[0] << 32 | e->elsp[1];
        submit(e, desc, 2);
    }
}

/* From graphics 11 on the driver fills a queue, then has it loaded. */
void engine_submit_queue(IntelGPUEngine *e)
{
    submit(e, e->queue, MAX_PORTS);
    memset(e->queue, 0, sizeof(e->queue));
}

static void load_port(IntelGPUEngine *e)
{
    e->hung = !engine_context_load(e, e->ports[e->port]);
}

/* Runs what was submitted in the place of what is running. */
void engine_take_pending(IntelGPUEngine *e)
{
    uint64_t from = engine_idle(e) ? 0 : e->ports[e->port];
    bool lite = from && e->loaded && context_page(from) == context_page(e->pending[0]) &&
                !(e->pending[0] & DESC_FORCE_RESTORE);

    memcpy(e->ports, e->pending, sizeof(e->ports));
    e->num_ports = e->num_pending;
    e->num_pending = 0;
    e->port = 0;
    if (lite) {
        engine_reload_tail(e);
        e->desc = e->ports[0];
        e->waiting = false;
        switch_event(e, from, e->ports[0], true, true);
    } else {
        engine_context_save(e);
        switch_event(e, from, e->ports[0], true, false);
        load_port(e);
    }
}

/* The ring of the context is empty. */
void engine_context_complete(IntelGPUEngine *e)
{
    uint64_t from = e->ports[e->port], to;

    if (e->num_pending) {
        engine_take_pending(e);
        return;
    }
    to = e->port + 1 < e->num_ports ? e->ports[e->port + 1] : 0;
    engine_context_save(e);
    e->port++;
    switch_event(e, from, to, false, false);
    if (to) {
        load_port(e);
    }
}
