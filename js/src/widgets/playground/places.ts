/** Places in a prompt as people write them; nbinterp.widgets.playground.places reads them in Python. */

/** Positions as text: "3", or slices that end before their second number: "2:5, 7". */
export function writePlace(positions: readonly number[]): string {
  const sorted = [...new Set(positions)].sort((a, b) => a - b);
  const runs: [first: number, last: number][] = [];
  for (const position of sorted) {
    const run = runs.at(-1);
    if (run?.[1] === position - 1) {
      run[1] = position;
    } else {
      runs.push([position, position]);
    }
  }
  return runs.map(([first, last]) => (first === last ? `${first}` : `${first}:${last + 1}`)).join(', ');
}

/** The positions that a place means, to mark them; null where only Python can tell. */
export function readPlace(place: string, tokens: readonly string[]): number[] | null {
  const n = tokens.length;
  const text = place.trim();
  if (text === 'all') {
    return tokens.map((_, index) => index);
  }
  if (text === 'none') {
    return [];
  }
  if (text === 'last') {
    return n > 0 ? [n - 1] : [];
  }
  if (/^".*"$|^'.*'$/su.test(text)) {
    return overlapping(tokens, text.slice(1, -1));
  }
  const found = new Set<number>();
  for (const part of text.split(',')) {
    const numbers = /^\s*(-?\d+)\s*$/.exec(part);
    const slice = /^\s*(-?\d+)?\s*:\s*(-?\d+)?\s*$/.exec(part);
    if (numbers !== null) {
      const index = Number(numbers[1]);
      found.add(index < 0 ? index + n : index);
    } else if (slice !== null) {
      const end = (text: string | undefined, otherwise: number): number => {
        const index = text === undefined ? otherwise : Number(text);
        return Math.max(0, Math.min(n, index < 0 ? index + n : index));
      };
      for (let index = end(slice[1], 0); index < end(slice[2], n); index += 1) {
        found.add(index);
      }
    } else {
      return null;
    }
  }
  return [...found].filter(index => index >= 0 && index < n).sort((a, b) => a - b);
}

/** The tokens that a piece of the prompt lies in, if it occurs once. */
function overlapping(tokens: readonly string[], piece: string): number[] | null {
  const text = tokens.join('');
  const at = text.indexOf(piece);
  if (piece === '' || at < 0 || text.includes(piece, at + 1)) {
    return null;
  }
  let from = 0;
  return tokens.flatMap((token, index) => {
    const [start, end] = [from, (from += token.length)];
    return start < at + piece.length && end > at ? [index] : [];
  });
}
