import { describe, expect, it, vi } from 'vitest';
import { isStill, preserve, revive, stillModel } from './still';

describe('a still model', () => {
  it('tells of what changes, to those who still listen', () => {
    const model = stillModel({ angle: 1, layer: 2 });
    const told = vi.fn();
    const any = vi.fn();
    model.on('change:angle', told);
    model.on('change', any);
    model.set('angle', 1);
    expect(told).not.toHaveBeenCalled();
    model.set('angle', 4);
    model.set('layer', 5);
    expect([model.get('angle'), told.mock.calls.length, any.mock.calls.length]).toEqual([4, 1, 2]);
    model.off('change:angle', told);
    model.set('angle', 6);
    expect(told).toHaveBeenCalledTimes(1);
  });
  it('is known as one', () => {
    expect([isStill(stillModel({})), isStill({ get: () => 1 })]).toEqual([true, false]);
  });
});

describe('state as JSON', () => {
  const state = { xs: [1, { deep: new DataView(new Uint8Array([0, 255, 60]).buffer) }], text: '</script>', none: null };
  it('keeps bytes, also of a part of a buffer', () => {
    const back = revive(JSON.parse(JSON.stringify(preserve(state)))) as typeof state;
    const { deep } = back.xs[1] as { deep: DataView };
    expect([deep.byteLength, deep.getUint8(0), deep.getUint8(1), deep.getUint8(2)]).toEqual([3, 0, 255, 60]);
    expect([back.text, back.none]).toEqual(['</script>', null]);
    expect(preserve(new Uint8Array([9, 8, 7]).subarray(1))).toEqual({ $bytes: btoa('\b\u0007') });
  });
  it('has no word for what is no number', () => {
    expect(preserve([NaN, Infinity, 2])).toEqual([null, null, 2]);
  });
});
