/**
 * Puts the pose editor into the node PCDMPoseEditor.
 *
 * The node's text widget stays the value: it is hidden while the editor shows it, saved with the
 * workflow as any text is, and all that remains where this script does not run.
 */

import { api } from '../../scripts/api.js'
import { app } from '../../scripts/app.js'
import { PoseEditor } from './pose_editor/editor.js'

const NODE = 'PCDMPoseEditor'
const NAME = 'PCDM.PoseEditor'
const SIZE = [380, 690]
const LOOK = 300 // milliseconds between looks at what may have changed outside

let tables = null

async function readTables() {
  const style = document.createElement('link')
  style.rel = 'stylesheet'
  style.href = new URL('./pose_editor/editor.css', import.meta.url).href
  document.head.append(style)
  const reply = await fetch(new URL('./pose_editor.json', import.meta.url))
  if (!reply.ok) throw new Error(`${reply.url}: ${reply.status}`)
  tables = await reply.json()
}

/** What the editor may know of its node and do to it. */
function makeHost(node, widget, told) {
  const named = (name) => node.widgets.find((other) => other.name === name)
  const linkOf = (name) => {
    const slot = node.inputs?.findIndex((input) => input.name === name) ?? -1
    return slot >= 0 && node.inputs[slot].link != null ? slot : -1
  }
  const ownFrame = () => linkOf('height') < 0 && linkOf('width') < 0
  return {
    text: () => String(widget.value ?? ''),
    setText(text) {
      widget.value = text
      node.graph?.setDirtyCanvas(true, true)
      rememberState()
    },
    // What a run read in the text; of another text it would be another pose.
    served: (text) => (told.text === text || linkOf('pose_json') >= 0 ? told.pose : null),
    linked: () => linkOf('pose_json') >= 0,
    frame() {
      const canvas = ownFrame() ? null : told.frame
      return canvas ?? { height: sideOf(named('height')), width: sideOf(named('width')) }
    },
    canSetFrame: ownFrame,
    setFrame(height, width) {
      const scale = Math.min(1, 1024 / Math.max(height, width))
      const whole = (side) => Math.max(64, Math.round((side * scale) / 8) * 8)
      for (const [name, side] of [['height', height], ['width', width]]) {
        const its = named(name)
        its.value = whole(side)
        its.callback?.(its.value)
      }
      node.graph?.setDirtyCanvas(true, true)
      rememberState()
    },
    start: () => ({ connected: linkOf('start_pose') >= 0, text: told.start }),
    underlay() {
      const slot = linkOf('underlay')
      return slot < 0 ? null : (pictureOf(node.getInputNode?.(slot)) ?? told.underlay)
    },
    forwardWheel(event) {
      app.canvas.canvas.dispatchEvent(new WheelEvent('wheel', event))
    }
  }
}

/** A side of the frame in pixels, as the widget should hold it, whatever a workflow has put there. */
function sideOf({ value, options: { min = 64, max = 4096 } }) {
  return Math.min(Math.max(Number(value) || min, min), max)
}

/** The address of the picture that a node upstream holds before any run, if it is a file of it. */
function pictureOf(upstream) {
  const file = upstream?.widgets?.find((widget) => widget.name === 'image')?.value
  if (upstream?.comfyClass !== 'LoadImage' || typeof file !== 'string' || !file) return null
  const [, path, type] = file.match(/^(.*?)(?: \[(\w+)\])?$/s)
  const cut = path.lastIndexOf('/')
  return viewUrl({ filename: path.slice(cut + 1), subfolder: path.slice(0, Math.max(cut, 0)), type })
}

function viewUrl({ filename, subfolder = '', type = 'input' }) {
  return api.apiURL(`/view?${new URLSearchParams({ filename, subfolder, type })}`)
}

/** Tells the host's history that something changed; it does not look by itself at gestures here. */
function rememberState() {
  const tracker = app.extensionManager?.workflow?.activeWorkflow?.changeTracker
  if (tracker?.captureCanvasState) tracker.captureCanvasState()
  else tracker?.checkState?.()
}

/** The editor shows the text itself. Hidden, the widget still holds and saves the value. */
function hide(widget) {
  widget.hidden = true
  widget.options.hidden = true // what the newer way of drawing nodes asks
  // Older front ends keep room for a hidden text area.
  widget.computeLayoutSize = () => ({ minHeight: 0, maxHeight: 0, minWidth: 0 })
}

function addEditor(node) {
  const widget = node.widgets?.find((other) => other.name === 'pose_json')
  if (!widget) return
  const told = { pose: null, text: null, start: null, underlay: null, frame: null }
  const editor = new PoseEditor(makeHost(node, widget, told), tables)
  const shown = node.addDOMWidget('pose_editor', 'PCDM_POSE_EDITOR', editor.element, {
    serialize: false,
    hideOnZoom: false,
    getMinHeight: () => 320,
    getValue: () => '',
    setValue: () => {}
  })
  shown.serialize = false
  shown.editor = editor
  hide(widget)
  node.setSize?.([Math.max(node.size[0], SIZE[0]), Math.max(node.size[1], SIZE[1])])
  const timer = setInterval(() => editor.refresh(), LOOK)
  chain(node, 'onConfigure', () => editor.reset())
  chain(node, 'onRemoved', () => {
    clearInterval(timer)
    editor.destroy()
  })
  chain(node, 'onExecuted', (message) => {
    const text = (document) => (document ? JSON.stringify(document) : null)
    const pose = message?.pcdm_pose?.[0]
    told.pose = text(pose)
    told.text = message?.pcdm_text?.[0] ?? null
    told.frame = pose ? { height: pose.canvas_height, width: pose.canvas_width } : null
    told.start = text(message?.pcdm_start_pose?.[0])
    const picture = message?.pcdm_underlay?.[0]
    told.underlay = picture ? viewUrl(picture) : null
    editor.refresh()
  })
}

function chain(node, name, then) {
  const before = node[name]
  node[name] = function (...values) {
    const result = before?.apply(this, values)
    then(...values)
    return result
  }
}

// Two copies of the pack serve this file twice; the first one is enough.
if (!app.extensions?.some((extension) => extension.name === NAME)) {
  app.registerExtension({
    name: NAME,
    async init() {
      try {
        await readTables()
      } catch (error) {
        console.error('PCDM: the pose editor cannot be shown; its text field works.', error)
      }
    },
    nodeCreated(node) {
      if (node.comfyClass === NODE && tables) addEditor(node)
    }
  })
}
