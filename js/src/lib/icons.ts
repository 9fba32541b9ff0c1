/** Our own icons, drawn on 16 × 16 with the pen of the text around them. */

import { svg } from './elements';

const PATHS = {
  add: 'M8 3v10M3 8h10',
  less: 'M3 8h10',
  fit: 'M2.5 6v-3.5h3.5M10 2.5h3.5v3.5M13.5 10v3.5h-3.5M6 13.5h-3.5v-3.5',
  remove: 'M3.5 4.5h9M6.5 4.5v-1.5h3v1.5M4.5 4.5l.6 8.5h5.8l.6-8.5M7 7v3.5M9 7v3.5',
  close: 'M4 4l8 8M12 4l-8 8',
  copy: 'M5.5 5.5h7v7.5h-7zM3.5 10.5v-7.5h7',
  up: 'M8 13V3.5M4 7l4-4 4 4',
  down: 'M8 3v9.5M4 9l4 4 4-4',
  undo: 'M6 3.5L3 6.5l3 3M3 6.5h6.5a3.3 3.3 0 0 1 0 6.6H7',
  redo: 'M10 3.5l3 3-3 3M13 6.5H6.5a3.3 3.3 0 0 0 0 6.6H9',
  keep: 'M4.5 2.5h7V13.5L8 10.5l-3.5 3z',
  export: 'M8 10V2.5M5 5.5l3-3 3 3M3 9.5v4h10v-4',
  download: 'M8 2.5V10M5 7l3 3 3-3M3 11v2.5h10V11',
  play: 'M5 3l7.5 5L5 13z',
  stop: 'M4.5 4.5h7v7h-7z',
  pin: 'M8 9.5V14M5 9.5h6L9.5 6.5V3h1V2h-5v1h1v3.5z',
  chevron: 'M4.5 6.5L8 10l3.5-3.5',
  target: 'M8 2v3M8 11v3M2 8h3M11 8h3M8 5.5a2.5 2.5 0 1 0 0 5 2.5 2.5 0 1 0 0-5',
  restore: 'M3 8a5 5 0 1 0 1.7-3.75M3 3v3h3M8 5.5V8l2 1.5',
  rename: 'M3 13l.7-3L10.5 3.2l2.3 2.3L6 12.3zM9 4.7L11.3 7',
  compare: 'M8 2.5v11M3 5.5h3M3 8h3M3 10.5h3M10 5.5h3M10 8h3M10 10.5h3',
  more: 'M3.5 8h.01M8 8h.01M12.5 8h.01',
  curve: 'M2.5 13V3M2.5 13h11M4.5 11c3 0 3-6.5 8-7',
  chat: 'M2.5 3h11v7.5H7l-3 2.5v-2.5H2.5z'
} as const;

export type IconName = keyof typeof PATHS;

/** An icon; what it means is said by the label beside it. */
export function icon(name: IconName): SVGSVGElement {
  return svg(
    'svg',
    { class: 'nbi-icon', viewBox: '0 0 16 16', width: 16, height: 16, 'aria-hidden': 'true' },
    svg('path', { d: PATHS[name] })
  );
}
