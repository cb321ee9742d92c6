"""The pages that evaluation, comparison and ablation write."""
