"""Reads compressed networks (.ndz) with numpy alone: one file to copy into a project that does not have netdial.

    python read_ndz.py small.ndz            # names, shapes and types
    tensors, text = read("small.ndz")       # name -> array; recipe and plain values

The format is described in docs/ndz.md. Checked are the checksums of chunks, of the file, and of every decoded tensor; sizes are bounded by
``most`` before memory is taken. It is written apart from the library's own decoder, and slower: about 0.3 MB of float32 a second.
"""

# fmt: off
from __future__ import annotations
import json
import struct
import sys
import zlib
from hashlib import sha256
from math import prod
from pathlib import Path
import numpy as np
MAGIC = b'\x89NDZ\r\n\x1a\n\x01'
DTYPES = ['', '<f4', '<f8', '<f2', '|i1', '|u1', '<i2', '<i4', '<i8', '|b1']
# preset dictionaries of the text, by type of the head
WORDS = {1: b'"recipe":{"kind":"net","net":{"spec":"mlp:300,100","input_shape":[784],"n_outputs":10}},"meta":{},"names":["0.weight","0.bias","2.weight","2.bias","4.weight","4.bias","conv1.weight","fc1.weight","running_mean","running_var","num_batches_tracked"]',
         3: b'"std":[],"missing":[false,false,true,true,false,false,false,"decimal":",","thousands":null},"options":{"sep":";","na":["?"],"drop":[]},"left_out":[{"column":"id","why":"constant"}],"kind":["category","number","date"],"values":["no","yes"],"columns":["target"]}"name":"regression","noise":[{"lam":1.0,"variance":[0.0],"tails":0.0,"reach":[[0.67],[1.28],[1.96]]}],"pixels":{"image":[3,32,32],"inputs":[1,28,28],"shift":[0.13],"scale":[3.2]}"conv1.weight","conv1.bias","conv2.weight","bn1.weight","running_mean","running_var","num_batches_tracked","lstm.weight_ih_l0","in_proj_weight","family":{"lo":0.01,"hi":100.0,"knots":7}"recipe":{"cut":{"about":{"net":{"spec":"lenet5","n_outputs":10,"input_shape":[1,28,28]}},"widths":{}}},"0.weight","0.bias","2.weight","2.bias"]{"recipe":{"net":{"spec":"mlp:100,50","input_shape":[784],"n_outputs":10}},"meta":{"run":"mnist","data":"digits","kind":"regression","lam":0.1,"use":{"task":{"name":"classification"},"classes":["0","1","2","3","4","5","6","7","8","9"],"table":{"inputs":{"":{"column":["alcohol","fill":[0.0,"mean":[0.0,"std":[1.0,"missing":[false,false,false,false,false,false,false,false,false]}},"target":{"kind":"classification","columns":["class"],"classes":["class_0","class_1"]}},"lam":0.01}},"names":["fc1.weight","fc1.bias","fc2.weight","fc2.bias","fc3.weight","fc3.bias"]}'}

class Reader:
    """Bytes from front to back."""

    def __init__(self, data):
        self.data, self.at = (data, 0)

    def take(self, size):
        if self.at + size > len(self.data): raise ValueError('the file ends too early')
        self.at += size
        return self.data[self.at - size:self.at]

    def whole(self):
        found = shift = 0
        while True:
            byte = self.take(1)[0]
            found |= (byte & 127) << shift
            shift += 7
            if byte < 128 or shift > 63: return found

    def golomb(self, count):
        if not count: return []
        order, found = (self.take(1)[0], [])
        bits = ''.join(f'{byte:08b}' for byte in self.data[self.at:])
        place = 0
        for _ in range(count):
            one = bits.index('1', place)
            place, end = (one, 2 * one - place + 1 + order)
            found.append(int(bits[place:end], 2) - (1 << order))
            place = end
        self.at += -(-place // 8)
        return found

def read(path, most=1 << 28):
    """Returns name -> array, and the text of a file: ``recipe`` and ``meta``, if there are any."""
    data = Path(path).read_bytes()
    if data[:9] != MAGIC: raise ValueError('no .ndz file of version 1')
    file, bodies, kind = (Reader(data), [], -1)
    file.take(10)
    while kind != 0:
        start = file.at
        kind = file.take(1)[0]
        body = file.take(file.whole())
        if kind not in (0, 1, 2, 3, 4) and kind < 128: raise ValueError(f'a part of the unknown type {kind}')
        right = sha256(data[:start]).digest()[:8] if kind == 0 else struct.pack('<I', zlib.crc32(data[start:file.at]))
        if (body if kind == 0 else file.take(4)) != right: raise ValueError('a checksum differs')
        if kind < 128:
            bodies.append((kind, body))
    if file.at != len(data): raise ValueError('bytes follow the end')
    text, entries = read_head(*bodies[0])
    if sum((4 * prod(shape) for _, _, _, shape, _, _ in entries)) > most:
        raise ValueError(f'tensors take more than {most} bytes')
    found = {}
    sections = Reader(b''.join(body for _, body in bodies[1:-1]))
    for name, kind, coder, shape, digest, lengths in entries:
        found[name] = tensor(kind, coder, shape, digest, [sections.take(size) for size in lengths])
    if sections.at != len(sections.data): raise ValueError('tensors are longer than the head says')
    return (found, text)

def read_head(kind, body):
    """Returns the text without names, and (name, kind, coder, shape, digest, lengths) of every tensor."""
    file = Reader(body)
    size = file.whole()
    unpack = zlib.decompressobj(-15, zdict=WORDS[kind])
    text = json.loads(unpack.decompress(file.take(file.whole()), size), object_pairs_hook=rows if kind == 3 else None)
    entries = []
    for name in text.pop('names'):
        byte = file.take(1)[0]
        shape = tuple(file.whole() for _ in range(file.whole()))
        digest = file.take(4)
        lengths = [file.whole() for _ in range(3 if byte & 15 in (0, 10) else 1)]
        entries.append((name, byte & 15, byte >> 4, shape, digest, lengths))
    return (text, entries)

def rows(pairs):
    if len(pairs) != 1 or pairs[0][0]: return dict(pairs)
    columns = pairs[0][1]
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

def tensor(kind, coder, shape, digest, parts):
    """Returns a tensor: of numbers (kinds 1 to 9), a codebook (0) or a grid (10)."""
    size = prod(shape)
    if kind in (0, 10):
        codes, values = codebook(coder, shape, size, *parts) if kind == 0 else grid(coder, size, *parts)
        seen = codes.astype('<u1' if len(values) <= 256 else '<u2').tobytes() + values.astype('<f4').tobytes()
        found = values[codes] if size else np.zeros(0, '<f4')
    else:
        found = np.frombuffer(numbers(coder, parts[0], size * np.dtype(DTYPES[kind]).itemsize,
            np.dtype(DTYPES[kind]).itemsize), DTYPES[kind])
        seen = found.tobytes()
    if sha256(seen).digest()[:4] != digest: raise ValueError('a tensor was decoded to something else than was encoded')
    return found.reshape(shape)

def grid(coder, size, step, _, body):
    plain = np.frombuffer(numbers(coder, body, size, 1), np.int8)
    kinds = np.unique(plain)
    kinds = np.concatenate([kinds[kinds == 0], kinds[kinds != 0]])
    codes = np.argmax(plain[:, None] == kinds, axis=1) if size else plain.astype(int)
    return (codes, (kinds * np.frombuffer(step, '<f4').astype(float)).astype('<f4'))

def codebook(coder, shape, size, tables, where, what):
    """Returns codes and values."""
    told = Reader(tables)
    flags, k = (told.take(1)[0], told.whole())
    zero, form = (flags & 1, flags >> 1)
    values = np.zeros(0, '<f4')
    if k:
        step = np.frombuffer(told.take(4), '<f4').astype(float) if form == 2 else 1
        width = 16 if form == 1 else 32
        first = int.from_bytes(told.take(width // 8), 'little')
        places, half = (np.cumsum([first] + [gap + 1 for gap in told.golomb(k - 1)]), 1 << width - 1)
        plain = np.where(places < half, 2 * half - 1 - places, places - half).astype(f'<u{width // 8}')
        values = ((places - half) * step).astype('<f4') if form == 2 else plain.view(f'<f{width // 8}').astype('<f4')
    ones = told.whole() if zero and k else size if k else 0
    count = shape[0] if shape else 1
    columns = size // count if count else 0
    there = np.zeros(size, bool)
    if coder == 1:
        period = told.whole()
        mask = bytearray(b'\x01' * size if k and (not zero) else size)
        if zero and k:
            positions(Bits(where), mask, count, columns, period, ones)
        there[:] = np.frombuffer(mask, bool)
        found = symbols(Bits(what), mask, count, columns, period, k, int((values < 0).sum())) if k > 1 else [0] * ones
    else:
        decode = huffman if coder == 2 else ans
        if zero and k:
            span, items = (told.whole(), told.whole())
            gaps = np.array(decode(told, where, span + 1, items), int)
            there[np.cumsum(gaps + (gaps != span))[gaps != span] - 1] = True
        else:
            there[:] = k > 0
        found = decode(told, what, k, ones) if k > 1 else [0] * ones
    codes = np.zeros(size, int)
    codes[there] = np.array(found, int) + zero
    return (codes, np.concatenate([np.zeros(zero, '<f4'), values]))

def huffman(told, stream, alphabet, count):
    words, word, before = ({}, 0, 0)
    for length, symbol in sorted(((n, s) for s, n in enumerate(told.golomb(alphabet)) if n)):
        word, before = (word << length - before, length)
        words[length, word] = symbol
        word += 1
    bits, found = (iter(np.unpackbits(np.frombuffer(stream, np.uint8)).tolist()), [])
    for _ in range(count):
        length = word = 0
        while (length, word) not in words:
            length, word = (length + 1, word << 1 | next(bits))
        found.append(words[length, word])
    return found

def ans(told, stream, alphabet, count):
    bits = told.take(1)[0]
    freq = told.golomb(alphabet)
    start, symbol = (np.cumsum([0, *freq]).tolist(), np.repeat(np.arange(alphabet), freq).tolist())
    if not count: return []
    lanes = 1 << stream[0]
    states = list(struct.unpack_from(f'<{lanes}I', stream, 1))
    words = iter(struct.unpack_from(f'<{(len(stream) - 1 - 4 * lanes) // 2}H', stream, 1 + 4 * lanes))
    found = []
    for i in range(count):
        x, low = (states[i % lanes], states[i % lanes] & (1 << bits) - 1)
        s = symbol[low]
        x = freq[s] * (x >> bits) + low - start[s]
        states[i % lanes] = x << 16 | next(words) if x < 65536 else x
        found.append(s)
    if any(x != 65536 for x in states): raise ValueError('a stream does not end where it should')
    return found
END, UNITY, MOST, HALF = (2880, 12451, 1 << 20, 32768 << 6)
# adaptive models: an arithmetic decoder, and probabilities that learn
ANCHORS = [1, 1, 1, 2, 2, 3, 4, 5, 6, 8, 10, 13, 17, 22, 28, 36, 47, 60, 77, 98, 126, 162, 208, 267, 342, 439, 562, 720, 922,
    1179, 1506, 1921, 2446, 3108, 3938, 4971, 6249, 7812, 9702, 11955, 14595, 17625, 21025, 24743, 28693, 32768]
ENDS = ANCHORS + [65536 - low for low in reversed(ANCHORS[:-1])]
SQUASH = [ENDS[i >> 6] * (64 - i % 64) + ENDS[min((i >> 6) + 1, 90)] * (i % 64) + 32 >> 6 for i in range(2 * END + 1)]
STRETCH = (np.searchsorted(SQUASH, np.arange(8, 65536, 16)) - END).tolist()

class Bits:

    def __init__(self, data):
        self.data, self.at, self.range = (data, 4, 4294967295)
        self.value = int.from_bytes(data[:4].ljust(4, b'\x00'), 'big')

    def next(self, p):
        bound = (self.range >> 16) * p
        bit = int(self.value < bound)
        if bit:
            self.range = bound
        else:
            self.value, self.range = (self.value - bound, self.range - bound)
        while self.range < 1 << 24:
            more = self.data[self.at] if self.at < len(self.data) else 0
            self.value, self.range, self.at = (self.value << 8 | more, self.range << 8, self.at + 1)
        return bit

class Mixer:

    def __init__(self, rate):
        self.rate, self.weights = (rate, {})

    def next(self, bits, which, slots, direct=()):
        into = [STRETCH[s[0] >> 10] for s in slots] + [STRETCH[p >> 4] for p in direct] + [256]
        weights = self.weights.setdefault(which, [UNITY] * len(into))
        p = SQUASH[min(max(sum((w * x for w, x in zip(weights, into, strict=True))) >> 16, -END), END) + END]
        bit = bits.next(p)
        error = ((bit << 16) - p) * self.rate
        for i, x in enumerate(into):
            weights[i] = min(max(weights[i] + (x * error + (1 << 19) >> 20), -MOST), MOST)
        for s in slots:
            s[0] += ((bit << 22) - s[0]) * (131072 // (2 * s[1] + 3)) >> 16
            s[1] = min(s[1] + 1, 255)
        return bit

def share(ones, of, prior, strength):
    return min(max(((ones << 16) + prior * strength) // (of + strength), 16), 65519)

def level(p):
    return min(max((STRETCH[p >> 4] + 2048) // 128, 0), 23)

def near(logit):
    return SQUASH[min(max(logit, -2600), 2600) + END] << 6

def positions(bits, mask, count, columns, period, ones):
    p0 = share(ones, count * columns, 0, 0) if count * columns else 32768
    slots, mixer, pad = ({}, Mixer(12), period + 1)
    down = [0] * (columns + 2 * pad)
    for i in range(count):
        across = recent = 0
        when = min(i.bit_length(), 8)
        for j in range(columns):
            at, c, back, far = (i * columns + j, pad + j, 0, 0)
            around, of = (down[c - 1] + down[c + 1], 2 * i)
            if period:
                around, of = (around + down[c - period] + down[c + period], 4 * i)
                far = sum(mask[max(at - period - 2, i * columns):max(at - period + 3, i * columns)])
                back = sum((mask[at - n] << b for b, n in enumerate((period, period - 1, period + 1)) if j >= n))
            smooth = share(around, of, p0, 8)
            own, line = (share(down[c], i, smooth, 6), share(across, j, p0, 8))
            up = (i > 0 and mask[at - columns]) | (i > 1 and mask[at - 2 * columns]) << 1
            few = min((recent & 255).bit_count(), 5)
            a, b = (level(own), level(line))
            keys = [((0, recent & 3 | back << 2 | up << 5), p0 << 6), ((1, a, when), near((a - 16) * 128 + 64)), ((2, a, b),
                near((a + b - 32) * 128 + 128 - STRETCH[p0 >> 4])), ((3, few, min(far, 5), level(smooth) // 2), p0 << 6)]
            bit = mixer.next(bits, when, [slots.setdefault(key, [start, 2]) for key, start in keys], (own, line))
            mask[at], recent = (bit, recent << 1 | bit)
            across, down[c] = (across + bit, down[c] + bit)

def symbols(bits, mask, count, columns, period, k, low):
    most = max(low, k - low)
    depth, slots, found = ((most - 1).bit_length(), {}, [])
    signs, ranks = ([0] * len(mask), [0] * len(mask))
    plus, seen, height = ([0] * columns, [0] * columns, [0] * columns)
    mix_sign, mix_rank = (Mixer(16), Mixer(20))
    for i in range(count):
        plus_row = seen_row = height_row = 0
        for j in range(columns):
            at = i * columns + j
            if not mask[at]: continue
            past, positive = (0 < period <= j, int(low == 0))
            if 0 < low < k:
                beside = (j > 0 and signs[at - 1], j > 1 and signs[at - 2], past and signs[at - period],
                    0 < period <= j + 1 and signs[at - period + 1], i > 0 and signs[at - columns])
                of_col, of_row = (share(plus[j], seen[j], 32768, 4), share(plus_row, seen_row, 32768, 4))
                pair = [slots.setdefault(('s', *map(int, beside)), [HALF, 0]), slots.setdefault(('t', level(of_col),
                    level(of_row)), [HALF, 2])]
                positive = mix_sign.next(bits, 0, pair, (of_col, of_row))
            side = k - low if positive else low
            before, above = (ranks[at - 1] if j else 0, ranks[at - period] if past else 0)
            busy = (before > 0) + (above > 0) + (i > 0 and ranks[at - columns] > 0) + (j + 1 < columns and mask[at + 1])
            busy += (j > 1 and mask[at - 2]) + (j + 2 < columns and mask[at + 2]) + (0 < period < columns - j and mask[at + period])
            contexts = (0, min(before, 7) * 8 + min(above, 7), min((height[j] * 2 + 12) // (seen[j] + 2), 15),
                min((height_row * 2 + 12) // (seen_row + 2), 15), int(busy))
            node, value = (1, 0)
            for b in reversed(range(depth)):
                bit = 0
                if value + (1 << b) < side:
                    bit = mix_rank.next(bits, node, [slots.setdefault((n, positive, node, c), [HALF, 0]) for n,
                        c in enumerate(contexts)])
                value, node = (value | bit << b, node << 1 | bit)
            found.append(low + value if positive else low - 1 - value)
            signs[at], ranks[at] = (1 if positive else -1, 1 + 14 * value // most)
            plus[j], seen[j], height[j] = (plus[j] + positive, seen[j] + 1, height[j] + ranks[at])
            plus_row, seen_row, height_row = (plus_row + positive, seen_row + 1, height_row + ranks[at])
    return found

def numbers(coder, body, size, width):
    """Returns the bytes of numbers of so many bytes each."""
    if coder == 0: return body
    bits, slots, mixer, data = (Bits(body), {}, Mixer(10), bytearray(size))
    for start in range(0, size, width):
        for plane in reversed(range(width)):
            at, node = (start + plane, 1)
            before, above = (data[at - width] if start else 0, data[at + 1] if plane + 1 < width else 0)
            for _ in range(8):
                keys = ((plane, node), (plane, node, before, 0), (plane, node, 0, above, 0))
                node = node << 1 | mixer.next(bits, plane, [slots.setdefault(key, [HALF, 0]) for key in keys])
            data[at] = node & 255
    return bytes(data)
if __name__ == '__main__':
    for name_, array in read(sys.argv[1])[0].items():
        print(name_, array.shape, array.dtype)
