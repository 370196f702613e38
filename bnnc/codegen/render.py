"""The text of a model's C file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from bnnc.codegen.emitter import Call, c_value, comment, stored, string_literal
from bnnc.codegen.model import Generated, Layer
from bnnc.codegen.storage import Place
from bnnc.ir.epilogue import steps_of

_SPACES = {"arena": "IN_ARENA", "input": "IN_INPUT", "output": "IN_OUTPUT"}


def source(model: Generated, *, embed_weights: bool) -> str:
    """The model's C file: everything but the kernels, entry points last.

    Args:
        embed_weights: write the weights into the text as an array; otherwise declare the
            symbol ``bnnc_weights``, to be linked in.
    """
    parts = [_banner(model), _PRELUDE, _weights(model, embed_weights)]
    parts += [
        _layer(index, layer, model.storage.scratch[layer.node].offset)
        for index, layer in enumerate(model.layers)
    ]
    parts += [_tables(model), _entry_points(model)]
    return "\n".join(parts)


def _banner(model: Generated) -> str:
    info, compiled = model.info, model.info["compiled"]
    lines = [
        f"{comment(info['name'])}: compiled by bnnc {comment(info['bnnc'])}. Do not edit.",
        "",
        f"model      sha256 {comment(str(compiled.get('model_sha256', '')))}",
        f"settings   sign-zero {comment(str(compiled.get('sign_zero', '')))}",
    ]
    for title, tensors in (("input", info["inputs"]), ("output", info["outputs"])):
        lines += [f"{title:<10} {_describe(t['name'], t['dtype'], t['shape'])}" for t in tensors]
    lines.append(f"layers     {len(model.layers)}")
    lines.append(f"arena      {model.storage.arena_bytes} bytes")
    lines.append(f"weights    {len(model.weights)} bytes")
    return "/* " + "\n".join(f" * {line}".rstrip() for line in lines)[3:] + "\n */\n"


_PRELUDE = """\
#include <math.h>
#include <string.h>

#include "centernet.h"
#include "kernel.h"

/* What a layer sees of a run. */
typedef struct {
    uint8_t *arena;
    bnnc_pool *pool;
    const bnnc_isa_table *isa;
    const void *const *inputs;
    void *const *outputs;
} bnnc_model_run;

/* Places: so many bytes into the arena, the weights, an input or an output. */
#define A(offset) ((void *)(run->arena + (offset)))
#define W(offset) ((const void *)(bnnc_weights + (offset)))
#define IN(index, offset) ((const void *)((const uint8_t *)run->inputs[index] + (offset)))
#define OUT(index, offset) ((void *)((uint8_t *)run->outputs[index] + (offset)))
#define RUN(kernel, args, scratch) bnnc_parallel(run->pool, &run->isa->kernel, args, scratch)
"""


def _weights(model: Generated, embed: bool) -> str:
    if not embed:
        return (
            "#ifdef BNNC_PREFIX\n"
            "#define bnnc_weights BNNC_CONCAT(BNNC_PREFIX, weights)\n"
            "#endif\n"
            "extern BNNC_INTERNAL const uint8_t bnnc_weights[];\n"
        )
    words = np.frombuffer(model.weights, "<u8")
    digits = words.astype(">u8").tobytes()
    lines = [
        "    0x" + digits[start : start + 40].hex(" ", 8).replace(" ", ", 0x") + ","
        for start in range(0, len(digits), 40)
    ]
    return (
        f"/* Little endian. */\n"
        f"static const uint64_t bnnc_weight_words[{len(words)}] __attribute__((aligned(64))) = {{\n"
        + "\n".join(lines)
        + "\n};\n#define bnnc_weights ((const uint8_t *)bnnc_weight_words)\n"
    )


def _layer(index: int, layer: Layer, scratch: int) -> str:
    node = layer.node
    lines = [f"{index}  {comment(node.title)}"]
    reads = ", ".join(
        _describe(v.name, v.dtype.value, v.shape)
        for v in node.inputs
        if v is not None and not v.is_constant
    )
    writes = ", ".join(_describe(v.name, v.dtype.value, v.shape) for v in node.outputs)
    lines.append(f"    {comment(node.op.name)}: {reads} -> {writes}")
    macs = node.op.macs(node) if node.op.macs else 0
    if macs:
        kind = "binary " if node.op.name == "BinaryConv" else ""
        lines.append(f"    {macs} {kind}multiply-adds")
    steps = steps_of(node)
    if steps:
        lines.append("    then " + ", ".join(step.kind for step in steps))
    head = "/* " + "\n * ".join(lines) + " */"
    body = "\n".join(_call(number, call, scratch) for number, call in enumerate(layer.calls))
    return f"{head}\nstatic void layer_{index}(const bnnc_model_run *run) {{\n{body}\n}}\n"


def _describe(name: str, dtype: str, shape: object) -> str:
    sizes = "x".join(str(n) for n in shape)  # type: ignore[attr-defined]
    return f"{comment(name, 48)} {dtype}[{sizes}]"


def _call(number: int, call: Call, scratch: int) -> str:
    suffix = str(number) if number else ""
    lines, fields = _arguments(call, suffix)
    if call.branches:
        entries = []
        for index, branch in enumerate(call.branches):
            before, of_branch = _arguments(branch, f"{suffix}_{index}")
            lines += before
            entries.append("{" + ", ".join(f".{name} = {text}" for name, text in of_branch) + "}")
        lines.append(f"    const {call.branches[0].struct} branches{suffix}[] = {{")
        lines += [f"        {entry}," for entry in entries]
        lines.append("    };")
        fields += [("count", str(len(entries))), ("branches", f"branches{suffix}")]
    lines.append(f"    const {call.struct} args{suffix} = {{")
    lines += [f"        .{name} = {text}," for name, text in fields]
    lines.append("    };")
    lines.append(f"    RUN({call.kernel}, &args{suffix}, A({scratch}));")
    return "\n".join(lines)


def _arguments(call: Call, suffix: str) -> tuple[list[str], list[tuple[str, str]]]:
    """Lines that declare an epilogue's steps, and the fields of the arguments."""
    if call.epilogue is None:
        return [], list(call.fields)
    channels, height, width = call.epilogue
    lines = [
        f"    const bnnc_step steps{suffix}[] = {{",
        *(f"        {step}," for step in call.steps),
        "    };",
    ]
    epilogue = f"{{steps{suffix}, {len(call.steps)}, {channels}, {height}, {width}}}"
    return lines, [*call.fields, ("epilogue", epilogue)]


def _tables(model: Generated) -> str:
    lines = [
        "/* What a layer writes, for observers. */",
        "enum { IN_ARENA, IN_INPUT, IN_OUTPUT };",
        "typedef struct {",
        "    uint8_t space;",
        "    uint8_t index;",
        "    uint64_t offset, bytes;",
        "} layer_output;",
        "",
    ]
    entries = []
    for index, layer in enumerate(model.layers):
        outputs = ", ".join(
            _output_entry(model.storage.places[value], stored(value)) for value in layer.outputs
        )
        lines.append(f"static const layer_output outputs_{index}[] = {{{outputs}}};")
        entries.append(f"    {{layer_{index}, {len(layer.outputs)}, outputs_{index}}},")
    lines += [
        "",
        "static const struct {",
        "    void (*compute)(const bnnc_model_run *run);",
        "    int output_count;",
        "    const layer_output *outputs;",
        "} model_layers[] = {",
        *entries,
        "};",
    ]
    return "\n".join(lines) + "\n"


def _output_entry(place: Place, size: int) -> str:
    buffer = place.buffer
    offset = place.offset + (buffer.offset if buffer.space == "arena" else 0)
    return f"{{{_SPACES[buffer.space]}, {buffer.index}, {offset}, {size}}}"


def _entry_points(model: Generated) -> str:
    info = model.info
    values = {
        "JSON": string_literal(_json(info)),
        "ARENA_BYTES": str(model.storage.arena_bytes),
        "LAYERS": str(len(model.layers)),
        "INPUTS": str(len(info["inputs"])),
        "OUTPUTS": str(len(info["outputs"])),
        "MAX_OUTPUTS": str(max((len(la.outputs) for la in model.layers), default=1)),
    }
    return "".join(_substituted(_ENTRY_POINTS, values)) + _detect(model)


def _detect(model: Generated) -> str:
    """The last entry point: boxes instead of outputs."""
    decoder = model.decoder
    if decoder is None:
        return _DETECT_NOTHING
    outputs = [tensor["name"] for tensor in model.info["outputs"]]
    values = {
        "PLACES": ", ".join(f"base + {offset}" for offset in model.storage.outputs),
        "HEADS": ", ".join(
            f"(const float *)outputs[{outputs.index(name)}]"
            for name in (decoder.heatmap, decoder.size, decoder.offset)
        ),
        "SIZES": f"{decoder.classes}, {decoder.rows}, {decoder.columns}",
        "STRIDE": c_value(decoder.stride),
        "TOP": str(decoder.top),
    }
    return "".join(_substituted(_DETECT, values))


def _json(info: Mapping[str, Any]) -> str:
    """The document as compact JSON, keys in insertion order: the same model gives the same text."""
    return json.dumps(info, ensure_ascii=True, separators=(",", ":"))


def _substituted(template: str, values: dict[str, str]) -> Iterator[str]:
    for number, piece in enumerate(template.split("@")):
        yield values[piece] if number % 2 else piece


_ENTRY_POINTS = """\
const char *bnnc_model_json(void) {
    static const char json[] =
@JSON@;
    return json;
}

size_t bnnc_arena_bytes(void) {
    return @ARENA_BYTES@;
}

static int observe(const bnnc_model_run *run, int index, bnnc_observer *observer, void *user) {
    bnnc_output views[@MAX_OUTPUTS@];
    const layer_output *outputs = model_layers[index].outputs;
    for (int i = 0; i < model_layers[index].output_count; i++) {
        const uint8_t *base;
        if (outputs[i].space == IN_ARENA)
            base = run->arena;
        else if (outputs[i].space == IN_OUTPUT)
            base = run->outputs[outputs[i].index];
        else
            base = run->inputs[outputs[i].index];
        views[i].data = base + outputs[i].offset;
        views[i].bytes = (size_t)outputs[i].bytes;
    }
    return observer(user, index, model_layers[index].output_count, views);
}

/* Not interposed, as an exported function might be where another model has one of its name. */
static int run_layers(void *arena, bnnc_pool *pool, const void *const *inputs, void *const *outputs,
                      bnnc_observer *observer, void *user) {
    if (arena == NULL || inputs == NULL || outputs == NULL)
        return BNNC_E_NULL;
    if ((uintptr_t)arena % 64 != 0)
        return BNNC_E_ALIGN;
    for (int i = 0; i < @INPUTS@; i++)
        if (inputs[i] == NULL)
            return BNNC_E_NULL;
    for (int i = 0; i < @OUTPUTS@; i++)
        if (outputs[i] == NULL)
            return BNNC_E_NULL;
    const bnnc_model_run run = {arena, pool, bnnc_active(), inputs, outputs};
    for (int i = 0; i < @LAYERS@; i++) {
        model_layers[i].compute(&run);
        if (observer != NULL && observe(&run, i, observer, user) != 0)
            return BNNC_E_STOPPED;
    }
    return BNNC_OK;
}

int bnnc_run(void *arena, bnnc_pool *pool, const void *const *inputs, void *const *outputs) {
    return run_layers(arena, pool, inputs, outputs, NULL, NULL);
}

int bnnc_run_observed(void *arena, bnnc_pool *pool, const void *const *inputs, void *const *outputs,
                      bnnc_observer *observer, void *user) {
    return run_layers(arena, pool, inputs, outputs, observer, user);
}
"""

_DETECT = """
int bnnc_detect(void *arena, bnnc_pool *pool, const void *const *inputs, bnnc_box *boxes,
                int capacity, const bnnc_detect_options *options) {
    if (arena == NULL)
        return -BNNC_E_NULL;
    uint8_t *base = arena;
    void *const outputs[] = {@PLACES@};
    const int code = run_layers(arena, pool, inputs, outputs, NULL, NULL);
    if (code != BNNC_OK)
        return -code;
    const bnnc_centernet net = {@HEADS@, @SIZES@, @STRIDE@, @TOP@};
    return bnnc_centernet_boxes(&net, boxes, capacity, options, arena);
}
"""

_DETECT_NOTHING = """
int bnnc_detect(void *arena, bnnc_pool *pool, const void *const *inputs, bnnc_box *boxes,
                int capacity, const bnnc_detect_options *options) {
    static const bnnc_centernet none = {0};
    (void)pool, (void)inputs;
    return bnnc_centernet_boxes(&none, boxes, capacity, options, arena);
}
"""
