"""What whole jobs do, as functions: for jobs, demo, ablation and benchmarks alike."""
