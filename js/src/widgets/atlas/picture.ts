/** The atlas as one drawing in the light theme: what a saved notebook shows. */

import { html, set, svg } from '../../lib/elements';
import { figure, svgAddress, svgSource } from '../../lib/picture';
import type { Again, Claim, Shapes } from '../../lib/protocol';
import { LIGHT, withLiterals } from '../../lib/theme';
import { visible } from '../../lib/tokens';
import sheet from './atlas.figure.css';
import { sentence } from './persistence';
import { NAMES } from './toolbar';
import { cut, effectOf, rows, sureness, verdictOf, whole } from './words';

const PAD = 16;
const TOP = 78;
const LINE = 17;
const SCATTER = { width: 660, height: 440 };

export interface Shown {
  title: string;
  n: number;
  picked: number;
  sharing: string;
  layout: string;
  colour: string;
  site: string;
  shapes: Shapes | null;
  claims: readonly Claim[];
  looks: number;
  /** The cloud collected again, where it is seen beside itself. */
  again: Pick<Again, 'what' | 'statement'> | null;
  /** The scatter as an image's address. */
  scatter: string | null;
  drawings: readonly SVGSVGElement[];
}

/** How many rows there are and what is seen of them, in words. */
function facts(shown: Shown): string {
  const parts = [
    rows(shown.n),
    shown.picked === 0
      ? 'none picked'
      : `${whole(shown.picked)} picked${shown.sharing === '' ? '' : ` (${shown.sharing})`}`,
    shown.site === '' ? '' : `at ${visible(shown.site)}`,
    `laid out by ${visible(NAMES[shown.layout] ?? shown.layout)}`,
    `coloured by ${visible(shown.colour)}`
  ];
  return parts.filter(part => part !== '').join(', ');
}

export function describePicture(shown: Shown): string {
  const verdict = shown.shapes === null ? '' : ` Homology: ${sentence(shown.shapes)}`;
  const claims = shown.claims.map(claim => ` ${visible(claim.name)}: ${verdictOf(claim).words}.`).join('');
  const again = shown.again === null ? '' : ` Collected again, ${moved(shown.again)}`;
  return `${visible(shown.title)}: ${facts(shown)}.${verdict}${claims}${again}`;
}

function moved({ what, statement }: Pick<Again, 'what' | 'statement'>): string {
  return `${visible(what)}: ${visible(statement)}`;
}

export function atlasPicture(shown: Shown): string {
  const left = shown.scatter === null ? PAD : PAD * 2 + SCATTER.width;
  const top = TOP + (shown.again === null ? 0 : LINE);
  let bottom = top;
  const diagrams = shown.drawings.map(drawing => {
    const copy = drawing.cloneNode(true) as SVGSVGElement;
    // what only helps the hand is no part of a picture
    copy.querySelectorAll('.atlas-field, .atlas-halo, .atlas-bar-field').forEach(element => element.remove());
    set(copy, { x: left, y: bottom, overflow: 'visible' });
    bottom += Number(copy.getAttribute('height')) + 8;
    return copy;
  });
  const widest = Math.max(240, ...diagrams.map(drawing => Number(drawing.getAttribute('width'))));
  const width = left + widest + PAD;
  const height = Math.max(bottom, top + (shown.scatter === null ? 0 : SCATTER.height)) + PAD;
  const line = (y: number, words: string): SVGTextElement =>
    svg('text', { class: 'atlas-picture-line', x: PAD, y }, cut(words, Math.floor(width / 6.4)));
  const image =
    shown.scatter === null
      ? []
      : [svg('image', { x: PAD, y: top, ...SCATTER, href: shown.scatter, preserveAspectRatio: 'xMinYMin meet' })];
  const drawing = svg(
    'svg',
    { class: 'atlas-drawing', width, height, viewBox: `0 0 ${width} ${height}` },
    svg('style', {}, withLiterals(sheet, LIGHT)),
    svg('rect', { width, height, fill: LIGHT.surface }),
    svg('text', { class: 'atlas-picture-title', x: PAD, y: 26 }, cut(visible(shown.title), Math.floor(width / 9))),
    line(46, facts(shown)),
    line(63, shown.shapes === null ? '' : sentence(shown.shapes)),
    line(63 + LINE, shown.again === null ? '' : `○ ${moved(shown.again)}`),
    ...image,
    ...diagrams
  );
  const source = withLiterals(svgSource(drawing), LIGHT);
  return figure(svgAddress(source), describePicture(shown), numbersOf(shown));
}

function numbersOf(shown: Shown): HTMLTableElement {
  const line = (...cells: string[]): HTMLTableRowElement => html('tr', {}, ...cells.map(cell => html('td', {}, cell)));
  const head = html('tr', {}, ...['what', 'how many', 'how sure', 'in words'].map(name => html('th', {}, name)));
  const loops = shown.shapes === null ? [] : [line('homology', '', '', sentence(shown.shapes))];
  const claims = shown.claims.map(claim => {
    const sure = [verdictOf(claim).words, sureness(claim, shown.looks), effectOf(claim)]
      .filter(text => text !== '')
      .join(', ');
    return line(
      `${claim.kind} ${visible(claim.name)}`,
      rows(claim.n_rows),
      sure,
      visible(`${claim.statement} ${claim.caveat}`)
    );
  });
  const body = [
    line('rows', whole(shown.n), '', ''),
    line('picked', whole(shown.picked), '', shown.sharing),
    ...loops,
    ...claims,
    ...(shown.again === null ? [] : [line('collected again', '', '', moved(shown.again))])
  ];
  return html(
    'table',
    {},
    html('thead', {}, head),
    html('tbody', {}, ...body, line('looks taken', whole(shown.looks), '', ''))
  );
}
