/** Elements without a framework. Text only ever goes in as text. */

const SVG = 'http://www.w3.org/2000/svg';

export type Attributes = Readonly<Record<string, string | number>>;

function fill(element: Element, attributes: Attributes, children: readonly (Node | string)[]): void {
  for (const [name, value] of Object.entries(attributes)) {
    element.setAttribute(name, String(value));
  }
  element.append(...children);
}

/** An SVG element with attributes and children; a string child becomes a text node. */
export function svg<K extends keyof SVGElementTagNameMap>(
  name: K,
  attributes: Attributes = {},
  ...children: (Node | string)[]
): SVGElementTagNameMap[K] {
  const element = document.createElementNS(SVG, name);
  fill(element, attributes, children);
  return element;
}

/** An HTML element with attributes and children; a string child becomes a text node. */
export function html<K extends keyof HTMLElementTagNameMap>(
  name: K,
  attributes: Attributes = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(name);
  fill(element, attributes, children);
  return element;
}

/** Change attributes of an element that is kept. */
export function set(element: Element, attributes: Attributes): void {
  fill(element, attributes, []);
}

// each bundle has its own copy of this file, and all of them share a page's ids
let ids = Math.floor(Math.random() * 2 ** 40);

/** An id that no other element of the page has. */
export function freshId(name: string): string {
  return `nbi-${name}-${(ids += 1).toString(36)}`;
}
