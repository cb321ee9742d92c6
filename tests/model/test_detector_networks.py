"""The two small networks: shapes, losses that want the truth, boxes that come back."""

from __future__ import annotations

import torch

from diffpose.model.detector.heatmap_network import HeatmapNetwork, heatmap_loss
from diffpose.model.detector.person_network import (
    PersonNetwork,
    boxes_of,
    decode_people,
    person_loss,
)


def test_shapes_and_size_of_the_default_networks() -> None:
    heatmap, person = HeatmapNetwork().eval(), PersonNetwork().eval()
    with torch.inference_mode():
        assert heatmap(torch.rand(2, 3, 256, 192)).shape == (2, 17, 64, 48)
        assert person(torch.rand(2, 3, 192, 192)).shape == (2, 5, 24, 24)
    n_values = sum(v.numel() for n in (heatmap, person) for v in n.state_dict().values())
    assert 2 * n_values < 4_000_000  # float16: what is shipped stays below 4 MB


def test_heatmap_loss_is_least_at_the_truth_and_counts_only_what_is_known() -> None:
    place = torch.tensor([[[20.3, 40.8], [5.5, 9.5], [60.0, 10.0]]])  # the third lies outside
    known = torch.ones(1, 3, dtype=torch.bool)
    logits = torch.zeros(1, 3, 64, 48, requires_grad=True)
    optimiser = torch.optim.Adam([logits], lr=0.5)
    start = heatmap_loss(logits, place, known)
    assert abs(start.item() - torch.log(torch.tensor(64.0 * 48)).item()) < 1e-4
    for _ in range(200):
        optimiser.zero_grad()
        heatmap_loss(logits, place, known).backward()
        optimiser.step()
    p = logits.detach().flatten(2).softmax(-1).unflatten(2, (64, 48))
    x = (p.sum(2) * (torch.arange(48) + 0.5)).sum(-1)
    y = (p.sum(3) * (torch.arange(64) + 0.5)).sum(-1)
    torch.testing.assert_close(
        torch.stack([x, y], -1)[0, :2], place[0, :2], atol=0.05, rtol=0
    )  # bilinear shares put the mean exactly on the truth
    assert torch.equal(logits.detach()[0, 2], torch.zeros(64, 48))
    nothing = heatmap_loss(logits, place, torch.zeros_like(known))
    assert nothing.item() == 0.0


def test_person_loss_leads_to_the_boxes() -> None:
    boxes = torch.full((1, 3, 4), torch.nan)
    boxes[0, 0] = torch.tensor([20.0, 30, 80, 170])
    boxes[0, 1] = torch.tensor([120.0, 60, 150, 130])
    found = torch.zeros(1, 5, 24, 24)
    found[:, 0] = -4.0
    found.requires_grad_()
    optimiser = torch.optim.Adam([found], lr=0.1)
    for _ in range(300):
        optimiser.zero_grad()
        person_loss(found, boxes).backward()
        optimiser.step()
    (people,) = decode_people(found.detach(), threshold=0.5)
    assert len(people) == 2
    by_left = people[people[:, 0].argsort()]
    torch.testing.assert_close(torch.from_numpy(by_left[:, :4]), boxes[0, :2], atol=4.0, rtol=0)
    assert person_loss(found, torch.full((1, 1, 4), torch.nan)).isfinite()


def test_decoding_keeps_the_better_of_two_that_overlap() -> None:
    found = torch.full((1, 5, 24, 24), -8.0)
    found[0, 1:] = 0.0
    found[0, 0, 10, 10], found[0, 0, 10, 12] = 3.0, 2.0  # the same person twice
    found[0, 0, 2, 20] = 1.0
    found[0, 1:, 10, 10:13] = 1.0
    (people,) = decode_people(found, threshold=0.3)
    assert len(people) == 2
    assert people[0, 4] > people[1, 4]
    assert boxes_of(found).shape == (1, 24, 24, 4)
    assert decode_people(torch.full((1, 5, 24, 24), -8.0), 0.3)[0].shape == (0, 5)
