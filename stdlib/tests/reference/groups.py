"""Which groups `table.split_groups` sets aside, by its documentation alone: the expected rows in `stdlib/splits.rs`."""

MASK = (1 << 64) - 1


def finalize(z):
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def draw(seed, value):
    state = finalize(seed)
    for at in range(0, len(value), 8):
        state = finalize((state + int.from_bytes(value[at : at + 8], "little")) & MASK)
    return finalize((state + len(value)) & MASK)


def is_test(seed, number, test):
    # A value's bytes, then a 1: a blank has no bytes at all.
    value = number.to_bytes(8, "little", signed=True) + b"\x01"
    return (draw(seed, value) >> 11) / 2**53 < test


for seed in (7, 0, 8):
    print(seed, [number for number in range(20) if is_test(seed, number, 0.3)])
