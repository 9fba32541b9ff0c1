/** What a circuit's graph shows at one moment, read from the synced traits in one place. */

import type { AnyModel } from '@anywidget/types';
import type { OffersTraits } from '../../lib/offers';
import type { CircuitEdges, CircuitNode, CircuitSpec, CircuitView } from '../../lib/protocol';
import { bytesOf, type Selected, type SelectionTraits } from '../../lib/selection';

/** The traits that Python and the page share. */
export interface CircuitTraits extends SelectionTraits, OffersTraits {
  spec: CircuitSpec;
  view: CircuitView;
  edges: CircuitEdges;
  /** Nodes on which the followed Playground acts; a state may have been stored before there were some. */
  acted?: number[];
  problem: string;
}

export type CircuitModel = AnyModel<CircuitTraits>;

/** One line of the graph; an edge into heads that share keys or values is a line to each that is there. */
export interface Edge {
  source: number;
  target: number;
  receiver: number;
  score: number;
}

/** What a node has to do with the edges that are shown. */
export interface NodeFacts {
  index: number;
  node: CircuitNode;
  into: number;
  from: number;
  /** Sum of the scores of the edges from it. */
  score: number;
}

export interface Graph {
  /** The largest score in either direction first. */
  edges: readonly Edge[];
  nodes: readonly NodeFacts[];
  kept: number;
  drawn: number;
  /** The largest score in either direction. */
  most: number;
}

function numbers(bytes: DataView): Uint32Array {
  // a message's buffers begin anywhere
  return new Uint32Array(bytesOf(bytes).slice().buffer);
}

/** The edges that are kept at the view's stop, the largest of them, and the nodes between which they lie. */
export function graphOf(spec: CircuitSpec, { stop, drawn }: CircuitView, message: CircuitEdges): Graph {
  const [source, receiver, first] = [numbers(message.source), numbers(message.receiver), numbers(message.stop)];
  const score = new Float32Array(bytesOf(message.score).slice().buffer);
  const kept = Array.from(source.keys()).filter(at => (first[at] ?? Infinity) <= stop);
  const shown = kept.slice(0, drawn);
  const last = spec.nodes.length - 1;
  // a head that shares its keys is only there where it writes something
  const writers = new Set(kept.map(at => source[at] ?? -1)).add(last);
  const edges = shown.flatMap((at): Edge[] => {
    const fed = spec.receivers[receiver[at] ?? -1]?.nodes ?? [];
    const there = fed.filter(target => writers.has(target));
    return (there.length > 0 ? there : fed.slice(0, 1)).map(target => ({
      ...{ source: source[at] ?? 0, target, receiver: receiver[at] ?? 0, score: score[at] ?? 0 }
    }));
  });
  const facts = new Map<number, NodeFacts>();
  const factsOf = (index: number): NodeFacts | null => {
    const node = spec.nodes[index];
    if (node === undefined) {
      return null;
    }
    const known = facts.get(index) ?? { index, node, into: 0, from: 0, score: 0 };
    facts.set(index, known);
    return known;
  };
  for (const edge of edges) {
    const [from, to] = [factsOf(edge.source), factsOf(edge.target)];
    if (from !== null && to !== null) {
      from.from += 1;
      from.score += edge.score;
      to.into += 1;
    }
  }
  const nodes = [...facts.values()].sort((a, b) => a.index - b.index);
  const most = edges.reduce((largest, edge) => Math.max(largest, Math.abs(edge.score)), 0);
  return { edges, nodes, kept: kept.length, drawn: shown.length, most };
}

type Picked = Pick<Selected, 'heads' | 'layers'>;

/** What is picked when these nodes are, alone or beside what is picked; what is picked already is let go. */
export function picksWith(before: Picked, nodes: readonly CircuitNode[], add: boolean): Picked {
  const heads = nodes.filter(node => node.kind === 'head').map(({ layer, head }) => [layer, head] as const);
  const layers = nodes.filter(node => node.kind === 'mlp').map(({ layer }) => layer);
  const has = (pair: readonly [number, number]): boolean => before.heads.some(one => one.join() === pair.join());
  const count = heads.length + layers.length;
  const all = heads.every(has) && layers.every(layer => before.layers.includes(layer));
  if (all && count > 0 && (add || before.heads.length + before.layers.length === count)) {
    const gone = new Set(heads.map(pair => pair.join()));
    return {
      heads: before.heads.filter(pair => !gone.has(pair.join())),
      layers: before.layers.filter(layer => !layers.includes(layer))
    };
  }
  const known = add ? before : { heads: [], layers: [] };
  return {
    heads: [...known.heads, ...heads.filter(pair => !add || !has(pair))],
    layers: [...new Set([...known.layers, ...layers])].sort((a, b) => a - b)
  };
}
