// The models of adaptive.py for speed: the same whole numbers in the same order, so the same bytes. That file is the law and
// says what is meant; names are the same here. Numbers are checked by the caller.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

using i64 = int64_t;

constexpr int kEnd = 2880, kHalf = 32768 << 6, kUnity = 12451, kMost = 1 << 20;
int kSquash[2 * kEnd + 1], kStretch[4096], kRate[256];

struct Encoder {
  uint64_t low = 0;
  uint32_t range = 0xffffffffu;
  std::vector<uint8_t> out;
  void carry(uint64_t found) {
    if (found >> 32)
      for (size_t i = out.size(); i-- > 0 && ++out[i] == 0;) {
      }
  }
  int code(int p, int bit) {
    const uint32_t bound = (range >> 16) * static_cast<uint32_t>(p);
    if (bit) {
      range = bound;
    } else {
      low += bound;
      range -= bound;
      carry(low);
      low &= 0xffffffffu;
    }
    while (range < (1u << 24)) {
      out.push_back(static_cast<uint8_t>(low >> 24));
      low = (low << 8) & 0xffffffffu;
      range <<= 8;
    }
    return bit;
  }
  i64 finish(uint8_t* to, i64 room) {
    const uint64_t last = low + range - 1;
    for (int bits = 24; bits >= 0; bits -= 8) {
      const uint64_t found = last >> bits << bits;
      if (found < low) continue;
      carry(found);
      for (int shift = 24; shift >= bits; shift -= 8) out.push_back(static_cast<uint8_t>(found >> shift));
      break;
    }
    while (!out.empty() && out.back() == 0) out.pop_back();
    const i64 size = static_cast<i64>(out.size());
    if (size > room) return -1;
    if (size) std::memcpy(to, out.data(), out.size());
    return size;
  }
};

struct Decoder {
  const uint8_t* data;
  i64 size, place = 0;
  uint32_t value = 0, range = 0xffffffffu;
  Decoder(const uint8_t* d, i64 n) : data(d), size(n) {
    for (int i = 0; i < 4; ++i) value = value << 8 | next();
  }
  uint32_t next() {
    const uint32_t found = place < size ? data[place] : 0;
    ++place;
    return found;
  }
  int code(int p, int) {
    const uint32_t bound = (range >> 16) * static_cast<uint32_t>(p);
    const int bit = value < bound;
    if (bit) {
      range = bound;
    } else {
      value -= bound;
      range -= bound;
    }
    while (range < (1u << 24)) {
      value = value << 8 | next();
      range <<= 8;
    }
    return bit;
  }
};

struct Slot {
  int32_t p, n;
};
using Table = std::vector<Slot>;

int stretch(int p) { return kStretch[p >> 4]; }

struct Mixer {
  int inputs, rate, n_in = 0, n_slots = 0;
  std::vector<int32_t> weights;
  int32_t in[8];
  Slot* slots[8];
  Mixer(int inputs_, int sets, int rate_)
      : inputs(inputs_), rate(rate_), weights(static_cast<size_t>(inputs_) * sets, kUnity) {}
  void slot(Slot& s) {
    slots[n_slots++] = &s;
    in[n_in++] = stretch(s.p >> 6);
  }
  void direct(int p) { in[n_in++] = stretch(p); }
  template <class C>
  int code(C& coder, int which, int bit) {
    in[n_in++] = 256;
    int32_t* w = &weights[static_cast<size_t>(which) * inputs];
    i64 logit = 0;
    for (int i = 0; i < inputs; ++i) logit += static_cast<i64>(w[i]) * in[i];
    logit = std::clamp<i64>(logit >> 16, -kEnd, kEnd);
    const int p = kSquash[logit + kEnd];
    bit = coder.code(p, bit);
    const i64 error = static_cast<i64>((bit << 16) - p) * rate;
    for (int i = 0; i < inputs; ++i)
      w[i] = static_cast<int32_t>(std::clamp<i64>(w[i] + ((in[i] * error + (1 << 19)) >> 20), -kMost, kMost));
    for (int i = 0; i < n_slots; ++i) {
      Slot& s = *slots[i];
      s.p += static_cast<int32_t>((static_cast<i64>((bit << 22) - s.p) * kRate[s.n]) >> 16);
      s.n = std::min(s.n + 1, 255);
    }
    n_in = n_slots = 0;
    return bit;
  }
};

int shrunk(i64 ones, i64 of, i64 prior, i64 strength) {
  return static_cast<int>(std::clamp<i64>(((ones << 16) + prior * strength) / (of + strength), 16, 65519));
}

int level(int p) { return std::clamp((stretch(p) + 2048) >> 7, 0, 23); }

int around(int logit) { return kSquash[std::clamp(logit, -2600, 2600) + kEnd] << 6; }

int bit_length(i64 n) {
  int found = 0;
  for (; n; n >>= 1) ++found;
  return found;
}

template <class C>
void positions(C& coder, uint8_t* mask, i64 rows, i64 cols, i64 period, i64 ones) {
  const int p0 = rows > 0 && cols > 0 ? shrunk(ones, rows * cols, 0, 0) : 32768, middle = stretch(p0);
  Table near(128, Slot{p0 << 6, 2}), wide(6 * 128, Slot{p0 << 6, 2}), column(576, Slot{0, 2}), both(576, Slot{0, 2});
  for (int key = 0; key < 576; ++key) {
    column[key].p = around((key / 24 - 16) * 128 + 64);
    both[key].p = around((key / 24 + key % 24 - 32) * 128 + 128 - middle);
  }
  Mixer mixer(7, 9, 12);
  const i64 pad = period + 1;
  std::vector<i64> counts(cols + 2 * pad, 0);
  i64* down = counts.data() + pad;
  for (i64 i = 0; i < rows; ++i) {
    i64 across = 0;
    unsigned recent = 0;
    const int when = std::min(bit_length(i), 8);
    uint8_t* row = mask + i * cols;
    for (i64 j = 0; j < cols; ++j) {
      i64 around_ = down[j - 1] + down[j + 1], of = 2 * i;
      int back = 0, far = 0;
      if (period) {
        around_ += down[j - period] + down[j + period];
        of = 4 * i;
        for (i64 k = std::max<i64>(j - period - 2, 0); k <= j - period + 2; ++k) far += row[k];
        if (j >= period) back |= row[j - period];
        if (j >= period - 1) back |= row[j - period + 1] << 1;
        if (j >= period + 1) back |= row[j - period - 1] << 2;
      }
      const int smooth = shrunk(around_, of, p0, 8), own = shrunk(down[j], i, smooth, 6), line = shrunk(across, j, p0, 8);
      const int up = (i ? row[j - cols] : 0) | (i > 1 ? row[j - 2 * cols] : 0) << 1;
      int few = 0;
      for (unsigned r = recent & 255; r; r &= r - 1) ++few;
      mixer.slot(near[(recent & 3) | back << 2 | up << 5]);
      mixer.slot(column[level(own) * 24 + when]);
      mixer.slot(both[level(own) * 24 + level(line)]);
      mixer.slot(wide[std::min(few, 5) * 128 + std::min(far, 5) * 16 + level(smooth) / 2]);
      mixer.direct(own);
      mixer.direct(line);
      const int bit = mixer.code(coder, when, row[j]);
      row[j] = static_cast<uint8_t>(bit);
      recent = recent << 1 | static_cast<unsigned>(bit);
      across += bit;
      down[j] += bit;
    }
  }
}

template <class C>
void symbols(C& coder, const uint8_t* mask, int32_t* codes, i64 rows, i64 cols, i64 period, int k, int low) {
  const int most = std::max(low, k - low), bits = bit_length(most - 1);
  std::vector<int8_t> signs(rows * cols, 0), ranks(rows * cols, 0);
  std::vector<i64> plus(cols, 0), count(cols, 0), height(cols, 0);
  Table of_sign(243, Slot{kHalf, 0}), by_sign(576, Slot{kHalf, 2});
  const int size[5] = {1, 64, 16, 16, 16};
  Table tables[5];
  for (int t = 0; t < 5; ++t) tables[t].assign(static_cast<size_t>(2 * size[t]) << bits, Slot{kHalf, 0});
  Mixer mix_sign(5, 1, 16), mix_rank(6, 1 << bits, 20);
  for (i64 i = 0; i < rows; ++i) {
    i64 row_plus = 0, row_count = 0, row_height = 0;
    for (i64 j = 0; j < cols; ++j) {
      const i64 at = i * cols + j;
      if (!mask[at]) continue;
      const bool past = period && j >= period, over = period && j + 1 >= period;
      int positive = low == 0;
      if (0 < low && low < k) {
        int key = ((j > 0 ? signs[at - 1] : 0) + 1) * 81 + ((j > 1 ? signs[at - 2] : 0) + 1) * 27;
        key += ((past ? signs[at - period] : 0) + 1) * 9 + ((over ? signs[at - period + 1] : 0) + 1) * 3;
        key += (i ? signs[at - cols] : 0) + 1;
        const int of_col = shrunk(plus[j], count[j], 32768, 4), of_row = shrunk(row_plus, row_count, 32768, 4);
        mix_sign.slot(of_sign[key]);
        mix_sign.slot(by_sign[level(of_col) * 24 + level(of_row)]);
        mix_sign.direct(of_col);
        mix_sign.direct(of_row);
        positive = mix_sign.code(coder, 0, codes[at] >= low);
      }
      const int side = positive ? k - low : low, want = positive ? codes[at] - low : low - 1 - codes[at];
      const int before = j > 0 ? ranks[at - 1] : 0, above = past ? ranks[at - period] : 0;
      int busy = (before > 0) + (above > 0) + (i && ranks[at - cols] > 0) + (j + 1 < cols && mask[at + 1]);
      busy += (j > 1 && mask[at - 2]) + (j + 2 < cols && mask[at + 2]) + (period && period < cols - j && mask[at + period]);
      const i64 context[5] = {0, std::min(before, 7) * 8 + std::min(above, 7),
                              std::min<i64>((height[j] * 2 + 12) / (count[j] + 2), 15),
                              std::min<i64>((row_height * 2 + 12) / (row_count + 2), 15), busy};
      int node = 1, value = 0;
      for (int b = bits - 1; b >= 0; --b) {
        int bit = 0;
        if (value + (1 << b) < side) {
          const i64 here = static_cast<i64>(positive) << bits | node;
          for (int t = 0; t < 5; ++t) mix_rank.slot(tables[t][here * size[t] + context[t]]);
          bit = mix_rank.code(coder, node, want >> b & 1);
        }
        value |= bit << b;
        node = node << 1 | bit;
      }
      codes[at] = positive ? low + value : low - 1 - value;
      signs[at] = positive ? 1 : -1;
      ranks[at] = static_cast<int8_t>(1 + 14 * value / most);
      plus[j] += positive;
      row_plus += positive;
      ++count[j];
      ++row_count;
      height[j] += ranks[at];
      row_height += ranks[at];
    }
  }
}

template <class C>
void numbers(C& coder, uint8_t* data, i64 length, int width) {
  const size_t nodes = static_cast<size_t>(width) << 8;
  Table alone(nodes, Slot{kHalf, 0}), across(nodes << 8, Slot{kHalf, 0}), along(nodes << 8, Slot{kHalf, 0});
  Mixer mixer(4, width, 10);
  for (i64 start = 0; start < length; start += width)
    for (int plane = width - 1; plane >= 0; --plane) {
      const i64 at = start + plane;
      const int before = start ? data[at - width] : 0, above = plane + 1 < width ? data[at + 1] : 0;
      int node = 1;
      for (int b = 7; b >= 0; --b) {
        const size_t key = static_cast<size_t>(plane) << 8 | static_cast<size_t>(node);
        mixer.slot(alone[key]);
        mixer.slot(across[key << 8 | before]);
        mixer.slot(along[key << 8 | above]);
        node = node << 1 | mixer.code(coder, plane, data[at] >> b & 1);
      }
      data[at] = static_cast<uint8_t>(node & 255);
    }
}

}  // namespace

// Each returns the bytes written, -1 if there is no room for them; or how many bytes were read.
extern "C" {
void setup(const int32_t* squash, const int32_t* stretches, const int32_t* rates) {
  std::copy(squash, squash + 2 * kEnd + 1, kSquash);
  std::copy(stretches, stretches + 4096, kStretch);
  std::copy(rates, rates + 256, kRate);
}

i64 encode_positions(uint8_t* stream, i64 room, uint8_t* mask, i64 rows, i64 cols, i64 period, i64 ones) {
  Encoder coder;
  positions(coder, mask, rows, cols, period, ones);
  return coder.finish(stream, room);
}

i64 decode_positions(const uint8_t* stream, i64 length, uint8_t* mask, i64 rows, i64 cols, i64 period, i64 ones) {
  Decoder coder(stream, length);
  positions(coder, mask, rows, cols, period, ones);
  return coder.place;
}

i64 encode_symbols(uint8_t* stream, i64 room, const uint8_t* mask, int32_t* codes, i64 rows, i64 cols, i64 period, i64 k, i64 low) {
  Encoder coder;
  symbols(coder, mask, codes, rows, cols, period, static_cast<int>(k), static_cast<int>(low));
  return coder.finish(stream, room);
}

i64 decode_symbols(const uint8_t* stream, i64 length, const uint8_t* mask, int32_t* codes, i64 rows, i64 cols, i64 period, i64 k,
                   i64 low) {
  Decoder coder(stream, length);
  symbols(coder, mask, codes, rows, cols, period, static_cast<int>(k), static_cast<int>(low));
  return coder.place;
}

i64 encode_numbers(uint8_t* stream, i64 room, uint8_t* data, i64 length, i64 width) {
  Encoder coder;
  numbers(coder, data, length, static_cast<int>(width));
  return coder.finish(stream, room);
}

i64 decode_numbers(const uint8_t* stream, i64 length, uint8_t* data, i64 size, i64 width) {
  Decoder coder(stream, length);
  numbers(coder, data, size, static_cast<int>(width));
  return coder.place;
}

// Fills words from the back and returns where they begin; a symbol takes one word at most.
i64 encode_ans(const uint16_t* symbols, const uint32_t* freq, const uint32_t* start, uint32_t* states, uint16_t* words, i64 count,
               i64 lanes, i64 bits) {
  i64 place = count;
  for (i64 i = count - 1; i >= 0; --i) {
    uint32_t& x = states[i & (lanes - 1)];
    const uint32_t f = freq[symbols[i]];
    if (x >= static_cast<uint64_t>(f) << (32 - bits)) {
      words[--place] = static_cast<uint16_t>(x);
      x >>= 16;
    }
    x = ((x / f) << bits) + x % f + start[symbols[i]];
  }
  return place;
}

// Words of many states one after another; see `unranked` in static.py.
i64 decode_ans(const uint8_t* stream, i64 words, uint32_t* states, i64 lanes, i64 bits, const uint16_t* symbol,
               const uint32_t* freq, const uint32_t* start, i64 count, uint16_t* out) {
  const uint32_t all = (1u << bits) - 1;
  i64 place = 0;
  for (i64 i = 0; i < count; ++i) {
    uint32_t& x = states[i & (lanes - 1)];
    const uint32_t at = x & all, s = symbol[at];
    out[i] = static_cast<uint16_t>(s);
    x = freq[s] * (x >> bits) + at - start[s];
    if (x < 65536) {
      if (place >= words) return -1;
      x = x << 16 | static_cast<uint32_t>(stream[2 * place] | stream[2 * place + 1] << 8);
      ++place;
    }
  }
  return place;
}
}
