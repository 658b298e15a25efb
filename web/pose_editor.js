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
let style = ''
let editors = 0 // made so far

async function readFiles() {
  const read = async (name) => {
    const reply = await fetch(new URL(name, import.meta.url))
    if (!reply.ok) throw new Error(`${reply.url}: ${reply.status}`)
    return reply.text()
  }
  style = await read('./pose_editor/editor.css')
  tables = JSON.parse(await read('./pose_editor.json'))
}

/** What the editor may know of its node and do to it. */
function makeHost(node, widget, told) {
  const named = (name) => node.widgets.find((other) => other.name === name)
  const linked = (name) => slotOf(node, name) >= 0
  const ownFrame = () => !linked('height') && !linked('width')
  return {
    text: () => String(widget.value ?? ''),
    setText(text) {
      widget.value = text
      node.graph?.setDirtyCanvas(true, true)
      rememberState()
    },
    // What a run read in the text; of another text it would be another pose.
    served: (text) => (told.text === text || linked('pose_json') ? told.pose : null),
    linked: () => linked('pose_json'),
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
    start: () => ({ connected: linked('start_pose'), text: told.start }),
    underlay() {
      if (!linked('underlay')) return null
      const file = pictureBefore(node)
      return file && file !== told.file ? file : told.underlay // of the last run, or a file since
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

/** Number of a connected input, or -1. */
function slotOf(node, name) {
  return node.inputs?.findIndex((input) => input.name === name && input.link != null) ?? -1
}

/** The address of the picture below, before any run: of the file that a node upstream holds. */
function pictureBefore(node) {
  const slot = slotOf(node, 'underlay')
  const upstream = slot < 0 ? null : node.getInputNode?.(slot)
  const { required, optional } = upstream?.constructor.nodeData?.input ?? {}
  const uploads = (name) => (required?.[name] ?? optional?.[name])?.[1]?.image_upload
  const holder = upstream?.widgets?.find(({ name, type }) => type === 'combo' && uploads(name))
  if (typeof holder?.value !== 'string' || !holder.value) return null
  const [, path, type] = holder.value.match(/^(.*?)(?: \[(\w+)\])?$/s)
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

/** What the host keeps of the node's last run, also where it has made the node anew since. */
function outputsOf({ graph, id }) {
  return app.nodeOutputs?.[graph?.isRootGraph === false ? `${graph.id}:${id}` : id]
}

/** The editor shows the text itself. Hidden, the widget still holds and saves the value. */
function hide(widget) {
  widget.hidden = true
  widget.options.hidden = true // what the newer way of drawing nodes asks
  // Older front ends keep room for a hidden text area.
  widget.computeLayoutSize = () => ({ minHeight: 0, maxHeight: 0, minWidth: 0 })
}

/**
 * The editor goes back to where it is to be seen, when the front end has left it elsewhere.
 *
 * Front ends before 1.43 keep a Vue node's element for the next node of that number, which may be
 * in another graph or the same node made anew: it would show another pose than its own. And where
 * the app's panel stays open while a workflow is opened, the hidden graph takes the editor from it.
 */
function takePlace(node, element) {
  if (element.getClientRects().length || node.graph !== app.canvas.graph) return
  const older = `[data-node-id="${CSS.escape(node.id)}"] .pcdm-editor`
  if (!element.isConnected) document.querySelector(older)?.replaceWith(element)
  for (const item of document.querySelectorAll('[data-testid="app-mode-widget-item"]')) {
    const its = item.dataset.widgetKey?.split(':').includes(String(node.id))
    if (its) item.querySelector(`[node-type="${NODE}"]:empty`)?.append(element)
  }
}

function addEditor(node) {
  const widget = node.widgets?.find((other) => other.name === 'pose_json')
  if (!widget) return
  const told = { pose: null, text: null, start: null, underlay: null, file: null, frame: null }
  const editor = new PoseEditor(makeHost(node, widget, told), tables, style)
  // Vue nodes keep what they show while node, name and type are the same, also where the host has
  // made the node anew (undo) or shows another graph. A type of its own brings up the editor's own.
  const type = `PCDM_POSE_EDITOR_${++editors}`
  const shown = node.addDOMWidget('pose_editor', type, editor.element, {
    serialize: false,
    hideOnZoom: false,
    getMinHeight: () => 320,
    getValue: () => '',
    setValue: () => {}
  })
  shown.serialize = false
  shown.label = 'pose' // in an app's panel
  shown.editor = editor
  hide(widget)
  node.setSize?.([Math.max(node.size[0], SIZE[0]), Math.max(node.size[1], SIZE[1])])
  const look = () => {
    takePlace(node, editor.element)
    editor.refresh()
  }
  const timer = setInterval(look, LOOK)
  const learn = (message) => {
    const text = (frames) => (frames?.length ? JSON.stringify(frames) : null)
    const pose = message?.pcdm_pose?.[0]
    told.pose = text(message?.pcdm_pose)
    told.text = message?.pcdm_text?.[0] ?? null
    told.frame = pose ? { height: pose.canvas_height, width: pose.canvas_width } : null
    told.start = text(message?.pcdm_start_pose)
    const picture = message?.pcdm_underlay?.[0]
    told.underlay = picture ? viewUrl(picture) : null
  }
  chain(node, 'onConfigure', () => {
    learn(outputsOf(node))
    editor.reset()
  })
  chain(node, 'onRemoved', () => {
    clearInterval(timer)
    editor.destroy()
  })
  chain(node, 'onExecuted', (message) => {
    learn(message)
    told.file = pictureBefore(node)
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
        await readFiles()
      } catch (error) {
        console.error('PCDM: the pose editor cannot be shown; its text field works.', error)
      }
    },
    nodeCreated(node) {
      if (node.comfyClass === NODE && tables) addEditor(node)
    }
  })
}
