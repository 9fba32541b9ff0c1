/** Tokens as people can read them: what is invisible in a token is shown, and nothing in it is ever code. */

export interface Piece {
  text: string;
  /** True for a stand-in of something invisible. */
  faint: boolean;
}

const NAMED: Readonly<Record<string, string>> = { '\n': '⏎', '\r': '\\r', '\t': '⇥', '\u00a0': '⍽' };

// C0 and C1 controls, zero-width and bidirectional marks, line separators, the byte-order mark, tags and lone surrogates
const INVISIBLE =
  // eslint-disable-next-line no-control-regex -- control characters are what is looked for
  /[\u0000-\u001f\u007f-\u009f\u00a0\u00ad\u061c\u115f\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}]|\p{Cs}/u;

function standIn(character: string): string {
  const named = NAMED[character];
  if (named !== undefined) {
    return named;
  }
  const code = character.codePointAt(0) ?? 0;
  return `\\u${code > 0xffff ? `{${code.toString(16)}}` : code.toString(16).padStart(4, '0')}`;
}

/** Split a token into what is shown as it is and faint stand-ins. Spaces at its ends become "·". */
export function pieces(token: string): Piece[] {
  if (token === '') {
    return [{ text: '∅', faint: true }];
  }
  const leading = token.length - token.replace(/^ +/, '').length;
  const trailing = leading === token.length ? token.length : token.replace(/ +$/, '').length;
  const result: Piece[] = [];
  const add = (text: string, faint: boolean): void => {
    const last = result.at(-1);
    if (last?.faint === faint) {
      last.text += text;
    } else {
      result.push({ text, faint });
    }
  };
  let index = 0;
  for (const character of token) {
    if (character === ' ' && (index < leading || index >= trailing)) {
      add('·', true);
    } else if (INVISIBLE.test(character)) {
      add(standIn(character), true);
    } else {
      add(character, false);
    }
    index += character.length;
  }
  return result;
}

/** The whole token as visible text, stand-ins included: for a picture, a tooltip or a place without styles. */
export function visible(token: string): string {
  return pieces(token)
    .map(piece => piece.text)
    .join('');
}

/** The token as it is read in a sentence: without the spaces at its ends, unless nothing else is left. */
export function spoken(token: string): string {
  const bare = token.trim();
  return visible(bare === '' ? token : bare);
}

/** Write a token into an element, stand-ins in spans of their own. */
export function writeToken(element: HTMLElement, token: string): void {
  element.replaceChildren(
    ...pieces(token).map(piece => {
      const span = document.createElement('span');
      span.textContent = piece.text;
      if (piece.faint) {
        span.className = 'nbi-faint';
      }
      return span;
    })
  );
}

/** A probability as people say it: "34 %", "0.4 %", "<0.1 %". */
export function percent(probability: number): string {
  const value = probability * 100;
  if (!Number.isFinite(value)) {
    return '–';
  }
  if (value >= 9.95 || value === 0) {
    return `${Math.round(value)} %`;
  }
  return value < 0.1 ? '<0.1 %' : `${value.toFixed(1)} %`;
}
