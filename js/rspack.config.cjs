// Names instead of numbers, so that two builds of the same sources are the same bytes.
module.exports = { optimization: { moduleIds: 'named', chunkIds: 'named' } };
