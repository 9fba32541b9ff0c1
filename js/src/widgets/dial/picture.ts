/** The dial as one drawing in the light theme: what a saved notebook shows. */

import shared from '../../lib/drawing.figure.css';
import { html, svg } from '../../lib/elements';
import { figure, svgAddress, svgSource } from '../../lib/picture';
import type { Candidate, DialAnswer } from '../../lib/protocol';
import { LIGHT, withLiterals } from '../../lib/theme';
import { percent, spoken, visible } from '../../lib/tokens';
import { RUN_NAMES, RUNS, topOf, type Answers } from './answers';
import own from './dial.figure.css';
import type { Face } from './face';
import { placeInWords, type Moment } from './moment';
import { RESPONSE_HEIGHT, type Response } from './response';

/** The style of all that is drawn, on the page and in the picture. */
export const SHEET = shared + own;

const HEAD = 66;
const MIDDLE = 320;
const PAD = 16;
const FACE = 400;

/** What the picture says, for those who cannot see it. */
export function describePicture(moment: Moment): string {
  const words = [`Dial of ${moment.spec.concept} at layer ${moment.layer?.layer ?? '–'}: ${placeInWords(moment)}.`];
  const answer = moment.current ? moment.answer : null;
  for (const run of RUNS) {
    const top = topOf(answer, run);
    if (top !== null) {
      words.push(`${RUN_NAMES[run]}: ${spoken(top.text)} ${percent(top[run])}.`);
    }
  }
  return words.join(' ');
}

/** The figure that is written into the notebook. */
export function dialPicture(moment: Moment, face: Face, answers: Answers, response: Response): string | null {
  if (moment.layer === null) {
    return null;
  }
  const curve = response.element.cloneNode(true) as SVGSVGElement;
  const width = Math.max(760, curve.viewBox.baseVal.width || Number(curve.getAttribute('viewBox')?.split(' ')[2]));
  const height = HEAD + MIDDLE + RESPONSE_HEIGHT + PAD;
  const dial = face.element.cloneNode(true) as SVGSVGElement;
  placeDrawing(dial, 0, HEAD, FACE, MIDDLE);
  placeDrawing(curve, 0, HEAD + MIDDLE, width, RESPONSE_HEIGHT);
  // numbers of another angle are not drawn beside this hand
  const rows = moment.current ? answers.shown : [];
  const drawing = svg(
    'svg',
    { class: 'nbi-drawing', width, height, viewBox: `0 0 ${width} ${height}` },
    svg('style', {}, withLiterals(SHEET, LIGHT)),
    svg('rect', { width, height, fill: LIGHT.surface }),
    drawPrompt(moment),
    svg('text', { class: 'nbi-note', x: PAD, y: 48 }, `layer ${moment.layer.layer} · ${moment.layer.statement}`),
    dial,
    drawBars(rows, answers.scale, FACE + 10, HEAD + 26, width - FACE - 10 - PAD),
    curve
  );
  const source = withLiterals(svgSource(drawing), LIGHT);
  return figure(svgAddress(source), describePicture(moment), numbersOf(moment.current ? moment.answer : null));
}

function placeDrawing(drawing: SVGSVGElement, x: number, y: number, width: number, height: number): void {
  for (const [name, value] of Object.entries({ x, y, width, height })) {
    drawing.setAttribute(name, String(value));
  }
  for (const element of drawing.querySelectorAll('.nbi-hit, .nbi-busy')) {
    element.remove();
  }
}

function drawPrompt(moment: Moment): SVGTextElement {
  const { tokens } = moment.spec;
  // a long prompt is cut around the chosen token
  const from = Math.max(0, Math.min(moment.token - 8, tokens.length - 18));
  const spans = tokens.slice(from, from + 18).map((token, index) => {
    const chosen = from + index === moment.token;
    const text = visible(token).replace(/·/g, ' ');
    const bare = text.trimStart();
    const gap = text.slice(0, text.length - bare.length);
    return svg('tspan', {}, gap, svg('tspan', chosen ? { class: 'nbi-chosen' } : {}, bare));
  });
  const cut = (more: boolean): Node[] => (more ? [svg('tspan', {}, '…')] : []);
  const parts = [...cut(from > 0), ...spans, ...cut(from + 18 < tokens.length)];
  return svg('text', { class: 'nbi-title', x: PAD, y: 26, 'xml:space': 'preserve' }, ...parts);
}

function drawBars(rows: readonly Candidate[], scale: number, x: number, y: number, width: number): SVGGElement {
  const name = 84;
  const number = 54;
  const track = width - name - 3 * number;
  const group = svg('g', { transform: `translate(${x} ${y})` });
  RUNS.forEach((run, column) => {
    const at = name + track + (column + 1) * number;
    group.append(svg('text', { class: 'nbi-note nbi-end', x: at, y: 0 }, RUN_NAMES[run]));
  });
  rows.forEach((row, index) => {
    const top = 12 + index * 30;
    const text = visible(row.text);
    group.append(
      svg(
        'text',
        { class: 'nbi-row nbi-end', x: name - 10, y: top + 15 },
        text.length > 11 ? `${text.slice(0, 10)}…` : text
      )
    );
    RUNS.forEach((run, at) => {
      const length = Math.max(0.5, Math.min(1, row[run] / scale) * track);
      group.append(svg('rect', { class: `nbi-bar-${run}`, x: name, y: top + 2 + at * 6, width: length, height: 4 }));
      const end = name + track + (at + 1) * number;
      group.append(svg('text', { class: 'nbi-row nbi-end', x: end, y: top + 15 }, percent(row[run])));
    });
  });
  return group;
}

function numbersOf(answer: DialAnswer | null): HTMLTableElement | null {
  if (answer === null) {
    return null;
  }
  const head = html('tr', {}, html('th', {}, 'next token'), ...RUNS.map(run => html('th', {}, RUN_NAMES[run])));
  const rows = answer.candidates.map(candidate =>
    html('tr', {}, html('td', {}, visible(candidate.text)), ...RUNS.map(run => html('td', {}, percent(candidate[run]))))
  );
  return html('table', {}, html('thead', {}, head), html('tbody', {}, ...rows));
}
