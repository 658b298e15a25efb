/**
 * A slider between two pictures, where it can be drawn.
 *
 * ComfyUI's ImageCompare is absent on older hosts, and the classic way of drawing nodes shows
 * nothing in it. There the pack's workflows show the picture before the change beside the new one:
 * the nodes say so in the property `pcdm_else`.
 */

import { app } from '../../scripts/app.js'

const NAME = 'PCDM.Compare'
const PREVIEW = 'PreviewImage'

const canSlide = () =>
  Boolean(LiteGraph.registered_node_types.ImageCompare && LiteGraph.vueNodesMode)

/** Makes a preview of the first picture out of a slider, in a workflow that is being opened. */
function replace(node, graph) {
  const [before, ...others] = node.inputs
  const gone = new Set(others.map(({ link }) => link))
  graph.links = graph.links.filter(([id]) => !gone.has(id))
  for (const { outputs = [] } of graph.nodes) {
    for (const output of outputs) output.links = output.links?.filter((id) => !gone.has(id))
  }
  node.type = PREVIEW
  node.title = node.properties.pcdm_else
  node.inputs = [{ name: 'images', type: before.type, link: before.link }]
  node.properties = { ...node.properties, 'Node name for S&R': PREVIEW }
}

if (!app.extensions?.some((extension) => extension.name === NAME)) {
  app.registerExtension({
    name: NAME,
    beforeConfigureGraph(graph) {
      if (canSlide()) return
      for (const node of graph.nodes ?? []) {
        if (node.type === 'ImageCompare' && node.properties?.pcdm_else) replace(node, graph)
      }
    }
  })
}
