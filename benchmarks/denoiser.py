"""The released GCNdiff: our fast form against the released layer structure, same sizes and weights.

CPU: time of one thread, in turns. GPU, where there is one: frames per second of the whole answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from diffpose.benchmarks.measure import Figure, interleaved, table
from diffpose.benchmarks.official_layers import OfficialGcn, OfficialSizes
from diffpose.model.diffusion.schedule import linear_alphas
from diffpose.model.networks.mixste import Mixste, MixsteConfig
from diffpose.model.released.chebyshev_gcn import ChebyshevGcn, ChebyshevGcnConfig, FoldedGcn
from diffpose.model.released.official_lifter import walk_back
from diffpose.platform.runs.official_state import convert, gcn_sources

CONFIG = ChebyshevGcnConfig(n_in=5, n_out=5, n_steps=51, dropout=0.0, inner_dropout=0.0)
N_HYPOTHESES = 5
COMPILED_FROM = 64  # quick runs of fewer frames leave torch.compile out
PEER = "released layers"
Network = Callable[[Tensor, Tensor], Tensor]


def benchmark(_folder: Path, frames: int, rounds: int) -> tuple[list[Figure], list[str]]:
    """Measure inference, the reverse process and a training step; returns figures and Markdown."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    official, ours = networks()
    batches = (1, max(frames // 2, 2), 4 * frames)
    inference, text = _inference(official, ours, batches, rounds, frames >= COMPILED_FROM)
    walks, walk_rows = _walks(official, ours, max(frames // 8, 1), rounds)
    training, training_rows = _training(official, ours, 2 * frames, rounds)
    flops = gcn_flops(CONFIG)
    head = ["network", "precision", "form", *(f"{b} poses" for b in batches)]
    return [inference, walks, training], [
        f"GCNdiff of the released size (1025674 parameters, {flops / 1e6:.1f} MFLOP per pose and "
        f"step) with the same random weights in both; {PEER}: benchmarks/official_layers.py. CPU "
        f"time of one thread, in turns, medians of {rounds}: poses/s, and in brackets over the "
        f"{PEER} as they are (eager) in the same precision. bfloat16: ours with weights of that "
        "type, theirs under autocast.",
        "",
        *table(head, text),
        "",
        f"The whole reverse process, N = {N_HYPOTHESES}, float32, not compiled, the context not "
        "counted:",
        "",
        *table(["frames", "steps", f"{PEER}, frames/s", "ours, frames/s", "ratio"], walk_rows),
        "",
        f"A training step, {2 * frames} poses, float32, no dropout, gradients clipped, Adam (ours "
        "fused):",
        "",
        *table(["network", "poses/s", "ratio"], training_rows),
        "",
        *on_gpu(frames),
    ]


def networks(sizes: OfficialSizes | None = None) -> tuple[OfficialGcn, ChebyshevGcn]:
    """Return GCNdiff in both forms with equal weights."""
    sizes = sizes or OfficialSizes(dropout=0.0, inner_dropout=0.0)
    official = OfficialGcn(sizes, 5, 5, "used").eval()
    config = CONFIG.model_copy(
        update={"width": sizes.width, "n_layers": sizes.n_layers, "n_heads": sizes.n_heads}
    )
    ours = ChebyshevGcn(config)
    shapes = {name: value.shape for name, value in ours.state_dict().items()}
    sources = gcn_sources(config)
    ours.load_state_dict(convert("benchmark", "GCNdiff", official.state_dict(), sources, shapes))
    return official, ours.eval()


def gcn_flops(config: ChebyshevGcnConfig) -> float:
    """Return the floating-point operations of one pose and step, a multiply-add as two."""
    c, j = config.width, 17
    chebyshev = j * 3 * c * c + 2 * j * j * c
    attention = 4 * j * c * c + 2 * j * j * c
    learnt_graph = 4 * j * c * c + 2 * j * j * c
    ends = 3 * j * c * (config.n_in + config.n_out) + 2 * j * j * (config.n_in + c)
    return 2.0 * (config.n_layers * (2 * chebyshev + attention + learnt_graph) + ends)


def mixste_flops(config: MixsteConfig) -> float:
    """Return the floating-point operations of a frame in a window, a multiply-add as two."""
    c, j, t = config.width, 17, config.frames
    hidden = int(c * config.mlp_ratio)
    blocks = 2 * config.depth * (4 * c * c + 2 * c * hidden)
    attention = config.depth * 2 * c * (j + t)
    return 2.0 * j * (blocks + attention + 5 * c)


def _inference(
    official: OfficialGcn, ours: ChebyshevGcn, batches: tuple[int, ...], rounds: int, compiled: bool
) -> tuple[Figure, list[list[object]]]:
    """Return the figure of the middle batch and a row per network, precision and form."""
    eager: dict[tuple[str, str, str], Network] = {
        (PEER, "float32", "eager"): official,
        ("ours", "float32", "eager"): ours.folded(),
        (PEER, "bfloat16", "eager"): _autocast(official),
        ("ours", "bfloat16", "eager"): ours.folded().to(torch.bfloat16),
    }
    faster: dict[tuple[str, str, str], Network] = {
        ("ours", "float32", "compiled"): ours.folded().compiled(),
        ("ours", "bfloat16", "compiled"): ours.folded().to(torch.bfloat16).compiled(),
    }
    theirs: dict[tuple[str, str, str], Network] = {
        (PEER, "float32", "compiled"): torch.compile(official, dynamic=False)
    }
    variants = {**eager, **(faster if compiled else {}), **(theirs if compiled else {})}
    speeds: dict[tuple[str, str, str], list[float]] = {name: [] for name in variants}
    with torch.inference_mode():
        for batch in batches:
            # compiling theirs for the largest batch, which ours takes in parts, takes long
            names = [n for n in variants if n not in theirs or batch < batches[-1]]
            repeats = max(8 // batch, 1)  # a single pose takes a millisecond
            x, k = _states(batch)
            work: dict[str, Callable[[], object]] = {
                " ".join(n): _repeated(variants[n], x, k, repeats) for n in names
            }
            seconds = interleaved(work, rounds)
            for name in names:
                speeds[name].append(batch * repeats / seconds[" ".join(name)])
    rows: list[list[object]] = []
    for name in sorted(
        variants, key=lambda n: (n[1] != "float32", n[2] != "eager", n[0] == "ours")
    ):
        peers = speeds[PEER, name[1], "eager"]
        cells = [
            f"{own:.0f} ({own / peer:.2f})" for own, peer in zip(speeds[name], peers, strict=False)
        ]
        rows.append([*name, *cells, *["-"] * (len(batches) - len(cells))])
    figure = Figure(
        "denoiser.inference", speeds["ours", "float32", "compiled" if compiled else "eager"][1],
        "poses/s", PEER, speeds[PEER, "float32", "eager"][1],
    )  # fmt: skip
    return figure, rows


def _walks(
    official: OfficialGcn, ours: ChebyshevGcn, frames: int, rounds: int
) -> tuple[Figure, list[list[object]]]:
    """Walk N hypotheses back over 5 and 50 steps."""
    folded = ours.folded()
    alphas = linear_alphas(1e-4, 1e-3, 51)
    rows: list[list[object]] = []
    figures = []
    with torch.inference_mode():
        for n_frames in (1, frames):
            start, _ = _states(n_frames * N_HYPOTHESES)
            for n_steps in (5, 50):
                grid = [*range(50, 0, -50 // n_steps), 0]

                # a single frame's walk of five steps takes a hundredth of a second
                repeats = max(50 // (n_frames * n_steps), 1)

                def walk(
                    network: Network,
                    start: Tensor = start,
                    grid: list[int] = grid,
                    repeats: int = repeats,
                ) -> None:
                    def step(state: Tensor, k: int) -> Tensor:
                        return network(state, torch.full((len(state),), k))

                    for _ in range(repeats):
                        walk_back(step, start, alphas, grid)

                seconds = interleaved(
                    {PEER: partial(walk, official), "ours": partial(walk, folded)}, rounds
                )
                peer, own = (repeats * n_frames / seconds[name] for name in (PEER, "ours"))
                rows.append([n_frames, n_steps, f"{peer:.2f}", f"{own:.2f}", f"{own / peer:.2f}"])
                figures.append(Figure("denoiser.reverse_process", own, "frames/s", PEER, peer))
    return figures[2], rows


def _training(
    official: OfficialGcn, ours: ChebyshevGcn, batch: int, rounds: int
) -> tuple[Figure, list[list[object]]]:
    x, k = _states(batch)
    noise = torch.randn_like(x)

    def step_of(network: nn.Module, optimiser: torch.optim.Optimizer) -> Callable[[], None]:
        network.train()

        def step() -> None:
            loss = (noise - network(x, k)).square().sum(dim=(1, 2)).mean()
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()

        return step

    seconds = interleaved(
        {
            PEER: step_of(official, torch.optim.Adam(official.parameters(), 2e-5)),
            "ours": step_of(ours, torch.optim.Adam(ours.parameters(), 2e-5, fused=True)),
        },
        rounds,
    )
    speeds = {name: batch / s for name, s in seconds.items()}
    rows: list[list[object]] = [
        [name, f"{speed:.0f}", f"{speed / speeds[PEER]:.2f}"] for name, speed in speeds.items()
    ]
    figure = Figure("denoiser.training_step", speeds["ours"], "poses/s", PEER, speeds[PEER])
    return figure, rows


def on_gpu(frames: int) -> list[str]:
    """Measure frames per second of the whole answer on a GPU, where there is one."""
    if not torch.cuda.is_available():
        return ["No GPU was at hand: what the answer takes there was not measured."]
    encoder = MixsteConfig(frames=243, width=512, depth=8, n_heads=8, inputs="rays", drop_path=0.0)
    rows = answer_rows(torch.device("cuda"), encoder, CONFIG, n_windows=max(frames // 8, 1))
    return [
        f"On {torch.cuda.get_device_name()}, bfloat16: MixSTE over windows of 243 frames once, "
        f"then the walk of N = {N_HYPOTHESES} hypotheses per frame. Floor: the operations at the "
        "speed of a large matrix product on the same device, or the bytes that every matrix "
        "product must read and write at the speed of a copy, whichever is longer.",
        "",
        *table(["steps", "form", "frames/s", "TFLOP/s", "floor / time"], rows),
    ]


def answer_rows(
    device: torch.device, encoder: MixsteConfig, config: ChebyshevGcnConfig, n_windows: int
) -> list[list[object]]:
    """Time context and walk on a device; returns rows of steps, form, frames/s, TFLOP/s, share."""
    context = Mixste(encoder).eval().to(device, torch.bfloat16)
    network = ChebyshevGcn(config).eval().folded().to(device, torch.bfloat16)
    forms: dict[str, FoldedGcn] = {"eager": network}
    if device.type == "cuda":
        compiled = ChebyshevGcn(config).eval().folded().to(device, torch.bfloat16)
        forms["compiled"] = compiled.compiled()
    flop_rate, byte_rate = _peaks(device)
    screen = torch.randn(n_windows, encoder.frames, 17, 2, device=device, dtype=torch.bfloat16)
    n_frames = n_windows * encoder.frames
    alphas = torch.linspace(1.0, 0.97, 52, dtype=torch.float64)
    rows: list[list[object]] = []
    for n_steps in (5, 50):
        grid = [*range(50, 0, -50 // n_steps), 0]
        for form, g in forms.items():

            def answer(g: FoldedGcn = g, grid: list[int] = grid) -> Tensor:
                pose = context.exit(context.exit_norm(context.features(screen)))
                start: Tensor = torch.cat([screen, pose], dim=-1).flatten(0, 1)
                start = start.repeat_interleave(N_HYPOTHESES, dim=0)

                def step(state: Tensor, k: int) -> Tensor:
                    noise: Tensor = g(state, torch.full((len(state),), k, device=device))
                    return noise

                return walk_back(step, start, alphas, grid)[-1]

            seconds = _device_seconds(answer, device)
            evaluations = n_frames * N_HYPOTHESES * n_steps
            flops = n_frames * mixste_flops(encoder) + evaluations * gcn_flops(config)
            floor = max(flops / flop_rate, evaluations * _gcn_bytes(config) / byte_rate)
            rows.append(
                [n_steps, form, f"{n_frames / seconds:.0f}", f"{flops / seconds / 1e12:.2f}",
                 f"{floor / seconds:.2f}"]
            )  # fmt: skip
    return rows


def _gcn_bytes(config: ChebyshevGcnConfig) -> float:
    """Return what the matrix products of one pose and step read and write, bfloat16."""
    per_joint = 2 * (1 + 2 + 3 + 1) + (1 + 3) + 3 + 2 + (1 + 1 + 1 + 2) + (2 + 1 + 1 + 1)
    return 2.0 * config.n_layers * 17 * config.width * per_joint


def _peaks(device: torch.device) -> tuple[float, float]:
    """Return the operations per second of a large product and the bytes per second of a copy."""
    n = 8192 if device.type == "cuda" else 256
    a = torch.randn(n, n, device=device, dtype=torch.bfloat16)
    product = _device_seconds(lambda: a @ a, device)
    values = torch.zeros(n * n, device=device)
    copy = _device_seconds(values.clone, device)
    return 2.0 * n**3 / product, 8.0 * n * n / copy


@torch.inference_mode()
def _device_seconds(work: Callable[[], object], device: torch.device, rounds: int = 5) -> float:
    taken = []
    for _ in range(rounds + 2):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - start)
    return sorted(taken[2:])[rounds // 2]


def _states(batch: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(batch)
    return (
        torch.randn(batch, 17, 5, generator=generator),
        torch.randint(0, 51, (batch,), generator=generator),
    )


def _autocast(network: Network) -> Network:
    def run(x: Tensor, k: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return network(x, k)

    return run


def _repeated(network: Network, x: Tensor, k: Tensor, repeats: int) -> Callable[[], None]:
    def work() -> None:
        for _ in range(repeats):
            network(x, k)

    return work
