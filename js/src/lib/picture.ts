/** A live view's latest picture as HTML that stands alone, for the notebook file. */

import { html } from './elements';

/** What a view's root element offers to the JupyterLab extension. */
export interface Pictured extends HTMLElement {
  /** The picture of what is shown now, as an HTML figure; null while there is nothing to show. */
  nbinterpPicture?: () => string | null;
  /** What is shown now as the synced traits have it, ready for JSON: for the notebook file. */
  nbinterpState?: () => Record<string, unknown>;
  /** Take up what an earlier view in the same cell, of the same beginning, showed last. */
  nbinterpRestore?: (state: Record<string, unknown>) => void;
}

/** An SVG document as a data address. */
export function svgAddress(source: string): string {
  const bytes = new TextEncoder().encode(source);
  let binary = '';
  for (let at = 0; at < bytes.length; at += 0x8000) {
    binary += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  }
  return `data:image/svg+xml;base64,${btoa(binary)}`;
}

/** Serialise a drawing that is, or becomes, an SVG document of its own. */
export function svgSource(drawing: SVGSVGElement): string {
  drawing.setAttribute('xmlns', 'http://www.w3.org/2000/svg');
  return new XMLSerializer().serializeToString(drawing);
}

/** A figure with an image, its text for those who cannot see it, and the numbers as a table. */
export function figure(address: string, alt: string, numbers: HTMLTableElement | null): string {
  const image = html('img', { src: address, alt, style: 'max-width:100%;height:auto' });
  const element = html('figure', { class: 'nbinterp-figure', style: 'margin:0' }, image);
  if (numbers !== null) {
    element.append(html('details', { class: 'nbinterp-numbers' }, html('summary', {}, 'The numbers'), numbers));
  }
  return element.outerHTML;
}

/**
 * Put a new picture in the place of an old one; what else the old HTML holds stays.
 * Both are parsed in a document without scripts, network or styles.
 */
export function replacePicture(old: string, picture: string): string {
  const parser = new DOMParser();
  const before = parser.parseFromString(old, 'text/html');
  const after = parser.parseFromString(picture, 'text/html');
  const image = after.querySelector('.nbinterp-figure img');
  const stale = before.querySelector('.nbinterp-figure img');
  if (image === null || stale === null) {
    return picture;
  }
  stale.replaceWith(image);
  const numbers = after.querySelector('.nbinterp-numbers');
  if (numbers !== null) {
    before.querySelector('.nbinterp-numbers')?.replaceWith(numbers);
  }
  return before.body.innerHTML;
}
