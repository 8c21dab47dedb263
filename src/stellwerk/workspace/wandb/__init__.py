"""What Weights & Biases kept on a disk, taken over: the logs that its clients write beside what runs saved."""
