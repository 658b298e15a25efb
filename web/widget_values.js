/**
 * Keeps what is no value out of the widgets of this pack's nodes.
 *
 * A workflow file may hold an object where a number or a text belongs. Front ends take it as it
 * is, and some stop drawing the whole graph at one. Such a widget gets its own default back.
 */

import { app } from '../../scripts/app.js'

const NAME = 'PCDM.WidgetValues'

function isValue(value) {
  return value === null || typeof value !== 'object'
}

/** Looks at the values whenever the host has set them, before anything else of the node does. */
function guard(node) {
  const defaults = new Map(node.widgets?.map((widget) => [widget, widget.value]))
  const before = node.onConfigure
  node.onConfigure = function (...values) {
    for (const [widget, value] of defaults) {
      if (isValue(widget.value) || !isValue(value)) continue
      console.warn(`PCDM: ${widget.name} of ${node.comfyClass} was no value, its default is used.`)
      widget.value = value
    }
    return before?.apply(this, values)
  }
}

// Two copies of the pack serve this file twice; the first one is enough.
if (!app.extensions?.some((extension) => extension.name === NAME)) {
  app.registerExtension({
    name: NAME,
    nodeCreated(node) {
      if (node.comfyClass?.startsWith('PCDM')) guard(node)
    }
  })
}
