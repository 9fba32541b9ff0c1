/** What a view of attention shows at one moment, read from the synced traits in one place. */

import type { AnyModel } from '@anywidget/types';
import { fromHalves } from '../../lib/grid/halves';
import type { Heat } from '../../lib/grid/heat';
import type { OffersTraits } from '../../lib/offers';
import type { AttentionPattern, AttentionShown, AttentionSpec, HeadPictures } from '../../lib/protocol';
import { bytesOf, type SelectionTraits } from '../../lib/selection';

/** The traits that Python and the page share. */
export interface AttentionTraits extends SelectionTraits, OffersTraits {
  spec: AttentionSpec;
  view: AttentionShown;
  small: HeadPictures;
  pattern: AttentionPattern;
  problem: string;
}

export type AttentionModel = AnyModel<AttentionTraits>;

/** One head's pattern: `[query, key]`, and where its scale ends. */
export interface Large {
  values: Float32Array;
  heat: Heat;
  /** Whether it is a coarse copy, until the pattern itself has come. */
  coarse: boolean;
}

const unpacked = new WeakMap<AttentionPattern, Float32Array>();

function unpack(pattern: AttentionPattern): Float32Array {
  let values = unpacked.get(pattern);
  if (values === undefined) {
    values = fromHalves(bytesOf(pattern.values));
    unpacked.set(pattern, values);
  }
  return values;
}

/** The pattern of the head that is shown large; the small picture stands for it until it has come. */
export function largeOf(model: AttentionModel): Large | null {
  const { layer, head, measure } = model.get('view');
  const pattern = model.get('pattern');
  const { tokens } = model.get('spec');
  if (pattern.layer === layer && pattern.head === head && pattern.measure === measure) {
    return { values: unpack(pattern), heat: heatOf(pattern), coarse: false };
  }
  const small = model.get('small');
  const picture = pictureOf(model, layer, head);
  if (picture === null || small.measure !== measure || tokens.length === 0) {
    return null;
  }
  const [n, { size }] = [tokens.length, small];
  const values = new Float32Array(n * n).fill(NaN);
  for (let query = 0; query < n; query += 1) {
    const line = Math.floor((query * size) / n) * size;
    for (let key = 0; key <= query; key += 1) {
      values[query * n + key] =
        small.low + ((picture[line + Math.floor((key * size) / n)] ?? 0) / 255) * (small.high - small.low);
    }
  }
  return { values, heat: heatOf(small), coarse: true };
}

/** A scale that reaches below 0 is a diverging one. */
export function heatOf({ low, high }: { low: number; high: number }): Heat {
  return { kind: low < 0 ? 'diverging' : 'sequential', low, high };
}

/** The small picture of a head: `[size, size]`, 0 to 255; null where there is none. */
export function pictureOf(model: AttentionModel, layer: number, head: number): Uint8Array | null {
  const { layers, n_heads } = model.get('spec');
  const { size, values } = model.get('small');
  const row = layers.indexOf(layer);
  if (row < 0 || head < 0 || head >= n_heads) {
    return null;
  }
  const from = (row * n_heads + head) * size * size;
  return bytesOf(values).subarray(from, from + size * size);
}
