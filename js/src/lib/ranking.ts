/** An order of rows that follows their values without jumping about. */

/**
 * Sort keys by value, highest first, starting from the order in which they stand: two neighbours
 * change places only where the lower one is higher by more than `margin`.
 */
export function settle(before: readonly string[], values: ReadonlyMap<string, number>, margin: number): string[] {
  const known = before.filter(key => values.has(key));
  const fresh = [...values.keys()].filter(key => !known.includes(key));
  const value = (key: string): number => values.get(key) ?? 0;
  fresh.sort((a, b) => value(b) - value(a));
  const order: string[] = [];
  for (const key of [...known, ...fresh]) {
    let at = order.length;
    while (at > 0 && value(key) > value(order[at - 1] ?? key) + margin) {
      at -= 1;
    }
    order.splice(at, 0, key);
  }
  return order;
}

const STEPS = [0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1];

/** A round upper end for an axis of probabilities. */
export function roundScale(highest: number): number {
  return STEPS.find(step => highest <= step * 1.0001) ?? 1;
}
