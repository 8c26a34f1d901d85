"""The numbers of AT-SPI and their names: roles, states, interfaces (AtspiRole and AtspiStateType of at-spi2-core
2.46).
"""

from __future__ import annotations

ROLES = tuple(
    """invalid,accelerator label,alert,animation,arrow,calendar,canvas,check box,check menu item,color chooser,
column    header,combo box,date editor,desktop icon,desktop frame,dial,dialog,directory pane,drawing area,
file chooser,filler,focus traversable,font chooser,frame,glass pane,html container,icon,image,internal frame,
label,layered pane,list,list item,menu,menu bar,menu item,option pane,page tab,page tab list,panel,
password text,popup menu,progress bar,push button,radio button,radio menu item,root pane,row header,scroll bar,
scroll pane,separator,slider,spin button,split pane,status bar,table,table cell,table column header,
table row header,tearoff menu item,terminal,text,toggle button,tool bar,tool tip,tree,tree table,unknown,
viewport,window,extended,header,footer,paragraph,ruler,application,autocomplete,editbar,embedded,entry,chart,
caption,document frame,heading,page,section,redundant object,form,link,input method window,table row,tree item,
document spreadsheet,document presentation,document text,document web,document email,comment,list box,grouping,
image map,notification,info bar,level bar,title bar,block quote,audio,video,definition,article,landmark,log,
marquee,math,rating,timer,static,math fraction,math root,subscript,superscript,description list,
description term,description value,footnote,content deletion,content insertion,mark,suggestion,
push button menu""".replace("\n", "").split(",")
)

STATES = tuple(
    """invalid,active,armed,busy,checked,collapsed,defunct,editable,enabled,expandable,expanded,focusable,focused,
has-tooltip,horizontal,iconified,modal,multi-line,multiselectable,opaque,pressed,resizable,selectable,selected,
sensitive,showing,single-line,stale,transient,vertical,visible,manages-descendants,indeterminate,required,
truncated,animated,invalid-entry,supports-autocompletion,selectable-text,is-default,visited,checkable,has-popup,
read-only""".replace("\n", "").split(",")
)
STATE_BIT = {name: 1 << number for number, name in enumerate(STATES)}

# Top levels that are windows to a user; popups (menus, combo lists, tool tips) belong to the window they cover.
WINDOW_ROLES = frozenset({"alert", "dialog", "color chooser", "file chooser", "font chooser", "frame", "window"})
DIALOG_ROLES = frozenset({"alert", "dialog", "color chooser", "file chooser", "font chooser"})

INTERFACE_PREFIX = "org.a11y.atspi."


def role_name(number: int) -> str:
    """The role as AT-SPI spells it, "push button"; "unknown" for numbers newer than this table."""
    return ROLES[number] if 0 <= number < len(ROLES) else "unknown"


def role_tag(role: str) -> str:
    """The role as an XML tag and CSS type: "push-button"."""
    return role.replace(" ", "-")


def has_state(states: int, name: str) -> bool:
    """Whether the 64-bit state set holds the state of this name."""
    return bool(states & STATE_BIT[name])


def state_names(states: int) -> list[str]:
    """The states of a set by name, in the order of their numbers."""
    return [name for number, name in enumerate(STATES) if states >> number & 1]
