"""What programs print: outputs and trajectories of quantum-chemistry codes, step by step."""
