"""The trainer: batches, algorithms, generation and the loop. The only part of EMPG Gym that imports torch."""
