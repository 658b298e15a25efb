/**
 * Keeps what is no value out of the widgets of this pack's nodes.
 *
 * A workflow file may hold an object where a number or a text belongs. Front ends take it as it
 * is: at one without a text they stop loading the workflow, or drawing it. Such a widget keeps its
 * own default. And what older versions of the pack called the shipped weights becomes what this one
 * calls them; the node would take either.
 */

import { app } from '../../scripts/app.js'

const NAME = 'PCDM.WidgetValues'

function isValue(value) {
  return value === null || typeof value !== 'object'
}

const SHIPPED = /^mini(, \d+x\d+, rendered people)?(, for 4 steps)? \(shipped\)$/

/** A choice of a loader as its list has it today. */
function asListed(value, { options }) {
  const list = options?.values
  const match = typeof value === 'string' ? value.match(SHIPPED) : null
  if (!match || !Array.isArray(list) || list.includes(value)) return value
  const isSame = (name) => SHIPPED.test(name) && name.match(SHIPPED)[2] === match[2]
  return list.find(isSame) ?? value
}

/** Looks at the values that a node is to be made from before the host does. */
function guard(node) {
  const defaults = new Map(node.widgets?.map((widget) => [widget, widget.value]))
  const clean = (values) => {
    const widgets = node.widgets?.filter((widget) => widget.serialize !== false) ?? []
    return values.map((value, place) => {
      const own = defaults.get(widgets[place]) ?? {} // widgets of others may hold what they like
      if (isValue(value) || !isValue(own)) return asListed(value, widgets[place] ?? {})
      console.warn(`PCDM: ${widgets[place].name} of ${node.comfyClass} is no value.`)
      return own
    })
  }
  const configure = node.configure
  node.configure = function (info) {
    const values = info.widgets_values
    const cleaned = Array.isArray(values) ? { ...info, widgets_values: clean(values) } : info
    return configure.call(this, cleaned)
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
